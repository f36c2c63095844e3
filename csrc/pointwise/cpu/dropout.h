// Dropout with an activation before and a sum after it, forward and backward, element by element in order.
#pragma once
#include "common/pack.h"
#include "common/philox.h"
#include "pointwise/activations.h"
#include "pointwise/problem.h"

namespace pyrnn::pointwise {
namespace {

// The words of kPhiloxWords elements against the threshold.
class KeptWords {
 public:
  explicit KeptWords(const DropoutProblem& p)
      : key0_(uint32_t(p.seed)),
        key1_(uint32_t(uint64_t(p.seed) >> 32)),
        threshold_(kept_from(p.p)),
        any_(p.p < 1 ? ~0u : 0u) {}

  void draw(int64_t element) {  // a multiple of kPhiloxWords
    const uint64_t block = uint64_t(element) / 4;
    philox_row(uint32_t(block), uint32_t(block >> 32), 0, 1, key0_, key1_, words_);
  }

  // v where its element, number `lane` and the following, is kept; else 0, whatever v is.
  inline Vec<float> select(Vec<float> v, int lane) const {
    const u32_vec kept = (u32_vec)(words_[lane / kLanes<float>] >= threshold_) & any_;
    return (Vec<float>)((u32_vec)v & kept);
  }
  inline Vec<double> select(Vec<double> v, int lane) const {
    typedef uint32_t u32_half __attribute__((vector_size(kVectorBytes / 2)));
    u32_half words;
    __builtin_memcpy(&words, (const char*)words_ + lane * 4, sizeof(words));
    const u64_vec kept =
        (u64_vec)(__builtin_convertvector(words, u64_vec) >= threshold_) & (any_ ? ~0ull : 0);
    return (Vec<double>)((u64_vec)v & kept);
  }

 private:
  uint32_t key0_, key1_, threshold_, any_;
  u32_vec words_[2];
};

template <class S, class A, class Activation>
struct Dropout {
  template <bool kBackward, bool kRandom>
  static void pass(const DropoutProblem& problem, int64_t begin, int64_t end) {
    const DropoutProblem p = problem;  // a copy: the stores below cannot change it
    const S *x = (const S*)p.x, *other = (const S*)p.other;
    S* out = (S*)p.out;
    const A scale = p.p < 1 ? A(1 / (1 - p.p)) : A(0);
    KeptWords kept(p);
    const auto vector = [&](int64_t n, int64_t count, int lane) {
      Vec<A> v;
      if constexpr (kBackward && kSame<Activation, Identity>)
        v = load_n<A>(other + n, count);
      else if constexpr (kBackward)
        v = Activation::template times_derivative<VectorMath>(load_n<A>(x + n, count),
                                                              load_n<A>(other + n, count));
      else
        v = Activation::template value<VectorMath>(load_n<A>(x + n, count));
      if constexpr (kRandom) v = kept.select(v * scale, lane);
      if constexpr (!kBackward)
        if (other) v += load_n<A>(other + n, count);
      store_n(out + n, v, count);
    };
    for (int64_t n = begin; n < end; n += kPhiloxWords) {
      if constexpr (kRandom) kept.draw(n);
      if (n + kPhiloxWords <= end) {  // a constant count unrolls
#pragma GCC unroll 4
        for (int lane = 0; lane < kPhiloxWords; lane += kLanes<A>) vector(n + lane, kLanes<A>, lane);
      } else {
        for (int lane = 0; n + lane < end; lane += kLanes<A>) vector(n + lane, end - n - lane, lane);
      }
    }
  }

  template <bool kBackward>
  static void run(const DropoutProblem& p, int64_t begin, int64_t end) {
    p.p > 0 ? pass<kBackward, true>(p, begin, end) : pass<kBackward, false>(p, begin, end);
  }
};

}  // namespace
}  // namespace pyrnn::pointwise
