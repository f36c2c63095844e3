// Pairs of features turned by the angles of their positions, row after row.
//
// A vector holds whole pairs: [a, b] becomes [a, b] cos + [-b, a] sin, by three orders of lanes of the
// numbers and of the table, in which cos and sin of a pair lie side by side as the pair does.
#pragma once
#include "common/integers.h"
#include "common/pack.h"
#include "pointwise/problem.h"

namespace pyrnn::pointwise {
namespace {

// Lane l of the result is lane l & kAnd | kOr, if kOr is 1 or 0, of v; that of its neighbour for kXor of 1.
template <int kAnd, int kOr, int kXor, class T>
inline Vec<T> neighbours(Vec<T> v) {
  constexpr int L = kLanes<T>;
#if defined(__GNUC__) && !defined(__clang__)
  typename VecTypes<T>::mask from;
  for (int l = 0; l < L; l++) from[l] = ((l & kAnd) | kOr) ^ kXor;
  return __builtin_shuffle(v, from);
#else
  Vec<T> out;
  for (int l = 0; l < L; l++) out[l] = v[((l & kAnd) | kOr) ^ kXor];
  return out;
#endif
}

template <class S, class A>
struct Rotary {
  static constexpr int64_t L = kLanes<A>;

  static void rows(const RotaryProblem& problem, int64_t begin, int64_t end) {
    const RotaryProblem p = problem;  // a copy: the stores below cannot change it
    Vec<A> sign;
    for (int l = 0; l < L; l++) sign[l] = (l % 2 == 0) == (p.back == 0) ? A(-1) : A(1);
    S* out = (S*)p.out + begin * p.features;
    for (int64_t row = begin; row < end; row++, out += p.features) {
      const int64_t i2 = row % p.size2, i1 = row / p.size2 % p.size1, i0 = row / p.size2 / p.size1;
      const S* x = (const S*)p.x + i0 * p.x0 + i1 * p.x1 + i2 * p.x2;
      const A* table = (const A*)p.table + i0 * p.table0 + i1 * p.table1 + i2 * p.table2;
      const auto turn = [&](int64_t i, int64_t count) {
        const Vec<A> v = load_n<A>(x + i, count), at = load_n<A>(table + i, count);
        const Vec<A> cos = neighbours<~1, 0, 0, A>(at), sin = neighbours<~1, 1, 0, A>(at);
        store_n(out + i, v * cos + sign * neighbours<~0, 0, 1, A>(v) * sin, count);
      };
      int64_t i = 0;
      for (; i + L <= p.turned; i += L) turn(i, L);
      if (i < p.turned) turn(i, p.turned - i);
      for (i = p.turned; i < p.features; i += L)
        store_n(out + i, load_n<A>(x + i, p.features - i), p.features - i);
    }
  }
};

}  // namespace
}  // namespace pyrnn::pointwise
