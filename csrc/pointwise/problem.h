// What one call of dropout computes, with the activation before it and the sum after it, one of the layer
// normalisation of such a sum, and one of rotary embedding. Dropout:
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

// summed = residual + dropout(x); for each row, over its n features,
//
//   out[i] = (summed[i] - mean) * rstd * weight[i] + bias[i],  rstd = 1 / sqrt(variance + eps)
//   d_residual[i] = (h[i] - sum(h) / n - z[i] * sum(h z) / n) * rstd + g_summed[i]
//
// where h = g * weight and z = (summed - mean) * rstd; d_x is what dropout makes of d_residual. d_weight =
// sum of g z and d_bias = sum of g over all rows: of each slice first, then of the slices in their order. A
// slice is a function of the shape, so the bits depend on no number of threads.
struct ResidualNormProblem {
  int64_t dtype, rows, features, slices;  // at least 1 each
  int64_t seed;                           // as in DropoutProblem
  double p, eps;
  const void *x, *residual;   // S [rows][features]; forward alone
  const void *weight, *bias;  // S [features], or null: ones, zeros
  void *out, *summed;         // S [rows][features]; the backward pass reads `summed` alone
  void *mean, *rstd;          // A [rows]
  const void *g, *g_summed;   // S [rows][features]; g_summed or null: zeros
  void *d_x, *d_residual;     // S [rows][features], or null where not wanted
  void* partial;              // A [slices][2][features]: g z and g; null if nobody wants their sums
  void *d_weight, *d_bias;    // S [features], or null where not wanted
};

// Of each row, pairs of neighbouring features turned by the angle a of the row's position:
//
//   out[2i] = x[2i] cos a - x[2i + 1] sin a;  out[2i + 1] = x[2i] sin a + x[2i + 1] cos a
//
// The backward pass is the same with -a.
struct RotaryProblem {
  int64_t dtype, size0, size1, size2;  // rows of x, in three dimensions: at least 1 each
  int64_t features, turned;            // of a row, at least 1; those in pairs, the others stay as they are
  int64_t back;                        // 1: by -a
  int64_t x0, x1, x2;                  // strides of x; features lie side by side
  int64_t table0, table1, table2;      // strides of the table, 0 where the position is the same
  const void* x;                       // S
  const void* table;                   // A: [turned], cos a and sin a of each pair
  void* out;                           // S [size0][size1][size2][features]
};

constexpr int64_t kNormRows = 32;  // of a task: their elements are whole blocks of random words, at any n

namespace {

inline int64_t rows_of_slice(const ResidualNormProblem& p) {
  const int64_t rows = (p.rows + p.slices - 1) / p.slices;
  return (rows + kNormRows - 1) / kNormRows * kNormRows;
}

}  // namespace

struct Kernels {
  DropoutPass forward[kActivations], backward[kActivations];
  // Rows [begin, end); begin is a multiple of kNormRows.
  void (*norm_forward)(const ResidualNormProblem&, int64_t begin, int64_t end);
  void (*norm_backward)(const ResidualNormProblem&, int64_t slice, int64_t begin, int64_t end);
  void (*norm_sums)(const ResidualNormProblem&);                     // of the slices
  void (*rotary)(const RotaryProblem&, int64_t begin, int64_t end);  // rows
};

}  // namespace pyrnn::pointwise
