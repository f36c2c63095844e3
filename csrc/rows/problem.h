// Layers that work row by row: linear with what follows it, and layer normalisation.
//
//   linear:  out[r] = residual[r] + activation(bias + W x[r])
//   norm:    out[r] = (x[r] - mean) / sqrt(variance + eps) * weight + bias, over the row's n features
//
// For a model that generates: W is read once for all rows, which is what a call on few of them costs; 2 rows
// n K operations.
#pragma once
#include <stdint.h>

#include "common/dtype.h"
#include "pointwise/problem.h"

namespace pyrnn::rows {

struct Linear {
  int64_t rows, K, n;
  int64_t activation;    // pointwise::Activation
  const void* x;         // S [rows][K]
  const void* weight;    // S [n][K]
  const void* bias;      // S [n] or null
  const void* residual;  // S [rows][n] or null
  void* out;             // S [rows][n]
};

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
  bool wide;  // vectors of 32 bytes or more
  int64_t (*scratch_bytes)(const Linear&);
  int64_t (*panel_bytes)(const Linear&);  // of each thread
  // Before the first task: x as the products read it.
  void (*prepare)(const Linear&, char* scratch);
  // Features [begin, end) of all rows.
  void (*linear)(const Linear&, const char* scratch, char* panel, int64_t begin, int64_t end);
  void (*norm)(const Norm&);
};

}  // namespace pyrnn::rows
