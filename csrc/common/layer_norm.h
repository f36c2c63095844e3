// Layer normalisation of one row of n numbers, vector by vector.
#pragma once
#include "common/vec.h"

namespace pyrnn {
namespace {

template <class A>
struct Moments {
  A mean, rstd;  // rstd = 1 / sqrt(variance + eps)
};

// The lanes of a vector, joined in pairs by f: one after another each would wait for the one before.
template <class A, class F>
inline A join_lanes(Vec<A> v, F f) {
#if defined(__GNUC__) && !defined(__clang__)
  typename VecTypes<A>::mask lanes;
  for (int l = 0; l < kLanes<A>; l++) lanes[l] = l;
#  pragma GCC unroll 4
  for (int step = kLanes<A> / 2; step > 0; step /= 2) v = f(v, __builtin_shuffle(v, lanes ^ step));
#else
  for (int step = kLanes<A> / 2; step > 0; step /= 2) {
    Vec<A> other = v;
    for (int l = 0; l < step; l++) other[l] = v[l + step];
    v = f(v, other);
  }
#endif
  return v[0];
}

template <class A>
inline A sum_of_lanes(Vec<A> v) {
  return join_lanes<A>(v, [](Vec<A> a, Vec<A> b) { return a + b; });
}

// f(i, count, turn) for each vector of a row of n numbers, from number i on, the last of fewer than all
// lanes. Four are unrolled, and `turn` tells them apart, so that sums need not wait for each other.
constexpr int kTurns = 4;

template <class A, class F>
inline void for_vectors(int64_t n, F f) {
  constexpr int64_t L = kLanes<A>;
  int64_t i = 0;
  for (; i + kTurns * L <= n; i += kTurns * L)
#pragma GCC unroll 4
    for (int turn = 0; turn < kTurns; turn++) f(i + turn * L, L, turn);
  for (; i < n; i += L) f(i, n - i < L ? n - i : L, 0);
}

template <class A>
inline A sum_of_turns(const Vec<A>* v) {
  return sum_of_lanes<A>((v[0] + v[1]) + (v[2] + v[3]));
}

// Sum of n numbers that come as vectors, whose lanes behind the n-th are zero.
template <class A, class Part>
inline A sum_of_row(int64_t n, Part part) {
  Vec<A> sums[kTurns] = {};
  for_vectors<A>(n, [&](int64_t i, int64_t count, int turn) { sums[turn] += part(i, count); });
  return sum_of_turns<A>(sums);
}

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

// The mean is the first number and the mean of the differences from it, so that a row of equal numbers has
// exactly that mean and no variance, however large they are.
template <class S, class A>
inline Moments<A> moments_of_row(const S* x, int64_t n, A eps) {
  const auto less = [x](A by, int64_t i, int64_t count) {
    return first_lanes<A>(load_n<A>(x + i, count) - by, count);
  };
  const A first = load_part<A>(x, 1)[0];
  const A mean =
      first + sum_of_row<A>(n, [&](int64_t i, int64_t count) { return less(first, i, count); }) / A(n);
  const A squares = sum_of_row<A>(n, [&](int64_t i, int64_t count) {
    const Vec<A> d = less(mean, i, count);
    return d * d;
  });
  return {mean, A(1) / root(squares / A(n) + eps)};
}

// (x - mean) * rstd * weight + bias; without weight or bias, ones and zeros.
template <class S, class A>
inline void normalise_row(S* out, const S* x, const S* weight, const S* bias, int64_t n, Moments<A> m) {
  for_vectors<A>(n, [&](int64_t i, int64_t count, int) {
    Vec<A> v = (load_n<A>(x + i, count) - m.mean) * m.rstd;
    if (weight) v *= load_n<A>(weight + i, count);
    if (bias) v += load_n<A>(bias + i, count);
    store_n(out + i, v, count);
  });
}

}  // namespace
}  // namespace pyrnn
