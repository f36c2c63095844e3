// Cross-entropy of rows of logits z with a target t each, smoothed by e, and its gradient in the logits'
// place:
//
//   loss[r] = log(sum_v exp(z[v])) - (1 - e) z[t] - e / V sum_v z[v]
//   g[v]    = weight[r] (exp(z[v]) / sum_u exp(z[u]) - (1 - e) [v == t] - e / V)
//
// Each row is gone through three times while a core's cache holds it: its maximum, its sums, its gradient. Of
// memory that is one read and one write of the logits.
#pragma once
#include <stdint.h>

#include "common/dtype.h"

namespace pyrnn::loss {

struct Problem {
  int64_t dtype, rows, V;  // V at least 1
  int64_t gradient;        // 1: it takes the logits' place; 0: they stay
  double smoothing;        // e
  void* logits;            // S [rows][V]
  const int64_t* targets;  // [rows], in [0, V)
  const void* weights;     // A [rows], or null: ones
  void* losses;            // A [rows], without their weights
  double* total;           // the sum of weight[r] loss[r], in the order of rows, is added to it
};

// One storage type and instruction set: rows [begin, end).
struct Kernels {
  void (*rows)(const Problem&, int64_t begin, int64_t end);
  void (*total)(const Problem&);
};

}  // namespace pyrnn::loss
