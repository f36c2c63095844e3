// The elementary functions of attention: e^x of what lies below a row's maximum, and the tanh of the softcap.
#pragma once
#include "common/vec.h"

namespace pyrnn::attention {
namespace {

// x = e^x for N vectors of x <= 0 (somewhat above it, too), to about a unit in the last place; 0 below the
// smallest normal number, for -infinity too. NaN stays. One vector's steps wait for each other, and a
// processor looks ahead by too few instructions to find the next one's: those of N stand side by side.
template <int N>
inline void exp_below(Vec<float>* x) {
  using I = VecTypes<float>::mask;
  // 1.5 * 2^23 and the bias of exponents: adding it leaves that of the nearest power of two in the low bits.
  constexpr float kRound = 12582912.0f + 127;
  constexpr float kLog2e = 1.44269504088896340736f;
  // Minimax polynomial of 2^r on [-1/2, 1/2], relative error 1.9e-9.
  constexpr float kTerms[] = {1.534581242594868e-4f,
                              1.3399930903688073e-3f,
                              9.618489071726799e-3f,
                              5.550328642129898e-2f,
                              2.4022646248340607e-1f,
                              6.931471824645996e-1f,
                              1.0f};
  const Vec<float> low = rounded(splat<float>(-88.0f));  // the exponent field becomes 0: 2^-127 is flushed
  Vec<float> shifted[N], p[N];
  for (int i = 0; i < N; i++) x[i] = low > x[i] ? low : x[i];
  for (int i = 0; i < N; i++) shifted[i] = x[i] * kLog2e + kRound;
  for (int i = 0; i < N; i++) x[i] = x[i] * kLog2e - (shifted[i] - kRound);
  for (int i = 0; i < N; i++) p[i] = kTerms[0] * x[i] + kTerms[1];
#pragma GCC unroll 8
  for (int term = 2; term < 7; term++)
    for (int i = 0; i < N; i++) p[i] = p[i] * x[i] + kTerms[term];
  for (int i = 0; i < N; i++) x[i] = p[i] * (Vec<float>)((I)shifted[i] << 23);
}

template <int N>
inline void exp_below(Vec<double>* x) {
  for (int i = 0; i < N; i++) {
    Vec<double> scale, p;
    exp_parts<Vec<double>, double>(x[i], scale, p);
    x[i] = x[i] < -708.0 ? Vec<double>{} : scale + scale * p;
  }
}

template <class V>
inline V exp_below(V x) {
  exp_below<1>(&x);
  return x;
}

// (tanh(m) - m) / m^3 as a polynomial in m^2, highest power first: interpolated in Chebyshev's points of
// 0 <= m <= 0.625, relative error of tanh 6e-10 and 6e-20.
template <class A>
struct TanhSeries;
template <>
struct TanhSeries<float> {
  static constexpr float terms[] = {2.29274482e-3f,  -8.34394552e-3f, 2.17689187e-2f,
                                    -5.39592596e-2f, 0.133333036f,    -0.333333332f};
};
template <>
struct TanhSeries<double> {
  static constexpr double terms[] = {-2.4388316314720878e-6, 1.2209921790162782e-5,  -3.7081069215442334e-5,
                                     9.604109157026266e-5,   -2.3888944636751174e-4, 5.8998181583882321e-4,
                                     -1.4558283998303246e-3, 3.5921275075992522e-3,  -8.8632354998019926e-3,
                                     2.1869488535133222e-2,  -5.3968253968235901e-2, 0.13333333333333321,
                                     -0.33333333333333333};
};

// tanh with half the error of the cells' own (vec.h): the softcap multiplies what is left of it by its bound.
template <class A>
inline Vec<A> precise_tanh(Vec<A> x) {
  using V = Vec<A>;
  const V m = x < 0 ? -x : x, square = m * m;
  V series = splat<A>(TanhSeries<A>::terms[0]);
  constexpr int count = sizeof(TanhSeries<A>::terms) / sizeof(A);
  for (int i = 1; i < count; i++) series = series * square + TanhSeries<A>::terms[i];
  V scale, p;
  exp_parts<V, A>(A(2) * m, scale, p);
  const V t = m < A(0.625) ? m + m * square * series : A(1) - A(2) / (A(1) + (scale + scale * p));
  return x < 0 ? -t : t;
}

}  // namespace
}  // namespace pyrnn::attention
