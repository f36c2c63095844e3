// What one call of dropout computes, with the activation before it and the sum after it:
//
//   out[n] = residual[n] + (kept[n] ? activation(x[n]) / (1 - p) : 0)
//   d_x[n] = kept[n] ? activation'(x[n]) * g[n] / (1 - p) : 0
//
// Element n is kept where word n % 4 of the Philox block with the counter (n / 4 in two words, 0, 1) and the
// key `seed` is at least p * 2^32. One read of each operand, one write; about two operations of integers an
// element.
#pragma once
#include <stdint.h>

#include "common/dtype.h"

namespace pyrnn::pointwise {
namespace {

// The smallest word that keeps an element; with p = 1 even this one does not.
inline uint32_t kept_from(double p) {
  const double limit = p * 4294967296.0;
  return limit < 4294967295.0 ? uint32_t(limit) : 0xffffffffu;
}

}  // namespace

enum Activation { kIdentity, kRelu, kGelu, kGeluTanh, kActivations };

struct DropoutProblem {
  int64_t dtype, activation, count;
  int64_t seed;
  double p;           // 0: everything is kept, and no random number is drawn; 1: nothing is
  const void* x;      // S [count]; not read by the backward pass of kIdentity
  const void* other;  // S [count]: forward the residual or null, backward g
  void* out;          // S [count]: forward out, backward d_x
};

// Elements [begin, end) of one pass; begin is a multiple of kDropoutTask.
using DropoutPass = void (*)(const DropoutProblem&, int64_t begin, int64_t end);
constexpr int64_t kDropoutTask = 1 << 14;

struct Kernels {
  DropoutPass forward[kActivations], backward[kActivations];
};

}  // namespace pyrnn::pointwise
