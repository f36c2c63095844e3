// The passes of AdamW over the numbers of one parameter.
#pragma once
#include "common/integers.h"
#include "common/layer_norm.h"
#include "optimizer/problem.h"

namespace pyrnn::optimizer {
namespace {

// As many numbers as a vector has doubles.
inline Vec<double> load_doubles(const double* p) { return load<double>(p); }
inline Vec<double> load_doubles(const float* p) {
  typedef float half __attribute__((vector_size(kVectorBytes / 2), aligned(4), may_alias));
  return __builtin_convertvector(*(const half*)p, Vec<double>);
}
inline Vec<double> load_doubles(const bf16* p) {
  typedef uint16_t quarter __attribute__((vector_size(kVectorBytes / 4), aligned(2), may_alias));
  typedef uint32_t bits __attribute__((vector_size(kVectorBytes / 2)));
  typedef float half __attribute__((vector_size(kVectorBytes / 2)));
  return __builtin_convertvector((half)(__builtin_convertvector(*(const quarter*)p, bits) << 16),
                                 Vec<double>);
}

inline Vec<float> roots(Vec<float> v) {
#if PYRNN_VECTOR_BYTES == 64
  return _mm512_sqrt_ps(v);
#else
  for (int l = 0; l < kLanes<float>; l++) v[l] = root(v[l]);
  return v;
#endif
}
inline Vec<double> roots(Vec<double> v) {
#if PYRNN_VECTOR_BYTES == 64
  return _mm512_sqrt_pd(v);
#else
  for (int l = 0; l < kLanes<double>; l++) v[l] = root(v[l]);
  return v;
#endif
}

template <class S, class A>
struct AdamW {
  // Sums of double: the squares of no float overflow.
  static double squares(const Parameter& p, int64_t begin, int64_t end) {
    constexpr int64_t D = kLanes<double>;
    const S* g = (const S*)p.grad;
    Vec<double> sums[kTurns] = {};
    int64_t i = begin;
    for (; i + kTurns * D <= end; i += kTurns * D)
#pragma GCC unroll 4
      for (int turn = 0; turn < kTurns; turn++) {
        const Vec<double> x = load_doubles(g + i + turn * D);
        sums[turn] += x * x;
      }
    for (; i < end; i += D) {
      S rest[D] = {};
      for (int64_t j = 0; j < min(D, end - i); j++) rest[j] = g[i + j];
      const Vec<double> x = load_doubles(rest);
      sums[0] += x * x;
    }
    return sum_of_turns<double>(sums);
  }

  static void update(const Parameter& p, const Update& u, int64_t begin, int64_t end) {
    S* value = (S*)p.value + begin;
    const S* grad = (const S*)p.grad + begin;
    S *moment = (S*)p.moment + begin, *square = (S*)p.square + begin;
    const A scale = A(u.scale), keep = A(u.keep), moment_rate = A(u.moment_rate);
    const A square_keep = A(u.square_keep), square_rate = A(u.square_rate);
    const A rate = A(u.rate), square_scale = A(u.square_scale), eps = A(u.eps);
    for_vectors<A>(end - begin, [&](int64_t i, int64_t count, int) {
      const Vec<A> g = load_n<A>(grad + i, count) * scale;
      Vec<A> m = load_n<A>(moment + i, count);
      m += moment_rate * (g - m);
      const Vec<A> v = load_n<A>(square + i, count) * square_keep + square_rate * g * g;
      const Vec<A> step = m / (roots(v) * square_scale + eps);
      store_n(value + i, load_n<A>(value + i, count) * keep - rate * step, count);
      store_n(moment + i, m, count);
      store_n(square + i, v, count);
    });
  }
};

}  // namespace
}  // namespace pyrnn::optimizer
