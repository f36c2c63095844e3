// Layers that work row by row: linear with what follows it, and layer normalisation.
//
//   linear:           out[r] = residual[r] + activation(bias + W x[r])
//   weight gradient:  d_W = sum_r g[r] x[r]^T, d_bias = sum_r g[r]
//   norm:             out[r] = (x[r] - mean) / sqrt(variance + eps) * weight + bias, over the row's n
//   features
//
// 2 rows n K operations. For a model that generates, W is read once for all rows, which is what a call on few
// of them costs. The gradient of x is `linear` of g with the transposed weight.
#pragma once
#include <stdint.h>

#include "common/dtype.h"
#include "pointwise/problem.h"

namespace pyrnn::rows {

struct Linear {
  int64_t rows, K, n;
  int64_t activation;    // pointwise::Activation
  const void* x;         // S [rows][K]
  const void* weight;    // S [n][K], or [K][n] if it is transposed
  const void* bias;      // S [n] or null
  const void* residual;  // S [rows][n] or null
  void* out;             // S [rows][n]
  bool transposed = false;
};

struct WeightGradient {
  int64_t rows, K, n;
  const void* x;   // S [rows][K]
  const void* g;   // S [rows][n]
  void* d_weight;  // S [n][K]
  void* d_bias;    // S [n] or null
};

constexpr int64_t kTask = 64;       // features of a task of `linear`: whole panels of every instruction set
constexpr int64_t kSegment = 512;   // rows that a weight gradient takes at a time
constexpr int64_t kPackTask = 512;  // features of x that a task packs, likewise whole panels

struct Norm {
  int64_t rows, n;
  double eps;
  const void* x;       // S [rows][n]
  const void* weight;  // S [n]
  const void* bias;    // S [n] or null: zeros
  void* out;           // S [rows][n]
};

// One storage type and instruction set.
struct Kernels {
  bool wide;   // vectors of 32 bytes or more
  bool pairs;  // dot products of two numbers, of bfloat16
  int64_t (*scratch_bytes)(const Linear&);
  int64_t (*panel_bytes)(const Linear&);  // of each thread
  // Before the first task: rows [begin, end) of x as the products read them.
  void (*prepare)(const Linear&, char* scratch, int64_t begin, int64_t end);
  // Features [begin, end) of all rows, at most kTask; those up to `following` are the next.
  void (*linear)(const Linear&, const char* scratch, char* panels, int64_t begin, int64_t end,
                 int64_t following);
  void (*norm)(const Norm&);
  int64_t (*gradient_scratch_bytes)(const WeightGradient&);
  int64_t (*gradient_own_bytes)(const WeightGradient&);  // of each thread
  int64_t (*gradient_block)(const WeightGradient&);      // features of a task
  // For the kSegment rows from `first` on: task `part` of kPackTask features of x is packed; when all are,
  // features [begin, end) of g are multiplied with them.
  void (*pack_input)(const WeightGradient&, char* scratch, int64_t first, int64_t part);
  void (*weight_gradient)(const WeightGradient&, char* scratch, char* own, int64_t first, int64_t begin,
                          int64_t end);
};

}  // namespace pyrnn::rows
