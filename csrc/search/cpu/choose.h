// The candidates of a row of logits, and the sum that makes probabilities of them.
//
// The first pass finds the maximum lane by lane. As many of the lanes' maxima as there are places are as many
// different logits, so the least of these is a bound that few others reach: the second pass, which sums up
// the exponentials, compares whole vectors with it and looks at a logit alone only above.
#pragma once
#include "attention/cpu/exp.h"
#include "common/integers.h"
#include "common/lane_bits.h"
#include "search/problem.h"

namespace pyrnn::search {
namespace {

// The sum of all lanes of floats in doubles. Of exponentials below 1 that lie no more than 2^20 apart such a
// sum is exact: it is the same for the same logits in another order, and equal outputs stay equal.
struct DoubleSum {
  static constexpr int kChain = 64;  // long chains of doubles round more often
  Vec<double> parts[2] = {};
  int chain = 0;

  void add(Vec<double> x) {
    parts[0] += x;
    if (++chain < kChain) return;
    parts[1] += parts[0];
    parts[0] = Vec<double>{};
    chain = 0;
  }
  void add(Vec<float> x) {
    typedef float half __attribute__((vector_size(kVectorBytes / 2)));
    half halves[2];
    __builtin_memcpy(halves, &x, sizeof(x));
    for (int i = 0; i < 2; i++) parts[i] += __builtin_convertvector(halves[i], Vec<double>);
  }
  double total() const {
    double sum = 0;
    for (int l = 0; l < kLanes<double>; l++) sum += parts[0][l] + parts[1][l];
    return sum;
  }
};

// The best candidates of a row so far, sorted.
struct Best {
  double* values;
  int64_t* ids;
  int64_t width, count = 0;

  bool full() const { return count == width; }
  // Ids come in ascending order, so one that is only as good as another goes behind it.
  void offer(double value, int64_t id) {
    if (full() && !(value > values[width - 1])) return;
    int64_t place = full() ? width - 1 : count++;
    for (; place > 0 && values[place - 1] < value; place--) {
      values[place] = values[place - 1];
      ids[place] = ids[place - 1];
    }
    values[place] = value;
    ids[place] = id;
  }
  void finish() {
    for (int64_t i = count; i < width; i++) values[i] = -__builtin_inf(), ids[i] = 0;
  }
};

template <class S, class A>
struct Choose {
  using V = Vec<A>;
  using Mask = typename VecTypes<A>::mask;
  static constexpr int64_t L = kLanes<A>;
  static constexpr int kChains = 2;  // maxima side by side
  static constexpr A kLeast = -(sizeof(A) == 4 ? A(__FLT_MAX__) : A(__DBL_MAX__));
  static constexpr A kNothing = -A(__builtin_inf());

  static void rows(const Choice& p, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      const S *raw = (const S*)p.raw + r * p.V, *allowed = (const S*)p.allowed + r * p.V;
      Best best{p.values + r * p.width, p.ids + r * p.width, p.width};
      const Maxima found = maxima(raw, p.V);
      p.largest[r] = found.largest();
      if (!p.sum) {
        choose(p, allowed, allowed == raw ? found : maxima(allowed, p.V), best, nullptr, 0);
      } else if (allowed == raw) {
        choose(p, raw, found, best, p.sum + r, A(p.largest[r]));
      } else {
        DoubleSum sum;
        const A shift = A(p.largest[r]);
        for (int64_t i = 0; i < p.V; i += L) sum.add(attention::exp_below(part(raw, i, p.V) - shift));
        p.sum[r] = sum.total();
        choose(p, allowed, maxima(allowed, p.V), best, nullptr, 0);
      }
      best.finish();
    }
  }

 private:
  struct Maxima {
    V chain[kChains];
    Mask nan;

    double largest() const {
      if (bits_of(nan)) return __builtin_nan("");
      A found = kNothing;
      for (const V& lanes : chain)
        for (int l = 0; l < L; l++) found = lanes[l] > found ? lanes[l] : found;
      return double(found);
    }
    // What at least `width` of the logits reach; the least number where that is not known.
    A bound(int64_t width) const {
      if (width > kChains * L) return kLeast;
      double values[kChains * L];
      int64_t ids[kChains * L];
      Best best{values, ids, width};
      for (const V& lanes : chain)
        for (int l = 0; l < L; l++) best.offer(double(lanes[l]), 0);
      return values[width - 1] > double(kLeast) ? A(values[width - 1]) : kLeast;
    }
  };

  // The vector at i; behind the row's end -inf.
  static V part(const S* x, int64_t i, int64_t n) {
    if (n - i >= L) return load<A>(x + i);
    const V v = load_part<A>(x + i, n - i);
    return lanes_below<A>(n - i) ? v : splat<A>(kNothing);
  }

  static Maxima maxima(const S* x, int64_t n) {
    Maxima found{};
    for (V& lanes : found.chain) lanes = splat<A>(kNothing);
    const auto look = [&](V& chain, V v) {
      found.nan |= v != v;
      chain = v > chain ? v : chain;
    };
    int64_t i = 0;
    for (; i + kChains * L <= n; i += kChains * L)
      for (int c = 0; c < kChains; c++) look(found.chain[c], load<A>(x + i + c * L));
    for (int c = 0; i < n; i += L, c++) look(found.chain[c], part(x, i, n));
    return found;
  }

  static bool is_banned(const Choice& p, int64_t id) {
    for (int64_t i = 0; i < p.count_banned; i++)
      if (p.banned[i] == id) return true;
    return false;
  }

  // The best of x; with `sum` also that of exp(x - shift).
  static void choose(const Choice& p, const S* x, const Maxima& maxima, Best& best, double* sum, A shift) {
    const A bound = maxima.bound(p.width);
    scan(p, x, bound, best, sum, shift);
    if (!best.full() && bound > kLeast) {  // some of those that reach it are banned
      best.count = 0;
      scan(p, x, kLeast, best, nullptr, shift);
    }
  }

  static void scan(const Choice& p, const S* x, A bound, Best& best, double* sum, A shift) {
    DoubleSum total;
    V level = splat<A>(bound);
    for (int64_t i = 0; i < p.V; i += L) {
      const V v = part(x, i, p.V);
      if (sum) total.add(attention::exp_below(v - shift));
      // Whoever is as good as the last of a full list stays outside, for its id is higher.
      uint32_t bits = best.full() ? bits_of((Mask)(v > level)) : bits_of((Mask)(v >= level));
      if (!bits) continue;
      for (; bits; bits &= bits - 1) {
        const int lane = __builtin_ctz(bits);
        if (!p.count_banned || !is_banned(p, i + lane)) best.offer(double(v[lane]), i + lane);
      }
      if (best.full()) level = splat<A>(A(best.values[best.width - 1]));
    }
    if (sum) *sum = total.total();
  }
};

}  // namespace
}  // namespace pyrnn::search
