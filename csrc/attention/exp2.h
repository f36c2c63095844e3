// 2^x for x <= 0, to about a unit in the last place; 0 below the smallest normal number, for -infinity too.
// NaN stays.
#pragma once
#include "../common/vec.h"

namespace pyrnn {
namespace {

inline Vec<float> exp2(Vec<float> x) {
  using I = VecTypes<float>::mask;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  x = x < -127.0f ? splat<float>(-127.0f) : x;  // the exponent field becomes 0: 2^-127 is flushed
  const Vec<float> shifted = x + kRound;
  const Vec<float> r = x - (shifted - kRound);
  // Minimax polynomial of 2^r on [-1/2, 1/2], relative error 1.9e-9.
  Vec<float> p = splat<float>(1.534581242594868e-4f);
  p = p * r + 1.3399930903688073e-3f;
  p = p * r + 9.618489071726799e-3f;
  p = p * r + 5.550328642129898e-2f;
  p = p * r + 2.4022646248340607e-1f;
  p = p * r + 6.931471824645996e-1f;
  p = p * r + 1.0f;
  return p * (Vec<float>)(((I)shifted - (I)splat<float>(kRound) + 127) << 23);
}

inline Vec<double> exp2(Vec<double> x) {
  Vec<double> scale, p;
  exp_parts<Vec<double>, double>(x * 0.693147180559945309417, scale, p);
  return x < -1021.0 ? Vec<double>{} : scale + scale * p;
}

// Once a query: the library's function will do (no inline one, which the linker could share).
inline float log2(float x) { return __builtin_log2f(x); }
inline double log2(double x) { return __builtin_log2(x); }

}  // namespace
}  // namespace pyrnn
