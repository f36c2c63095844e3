// What beam search and greedy search take from the logits of one step: of each row how large the likeliest
// one is, the sum behind its probabilities, and the best tokens that may come next.
//
//   largest[r] = max_v raw[r][v]
//   sum[r]     = sum_v exp(raw[r][v] - largest[r])
//   values[r], ids[r]: the `width` largest of allowed[r], best first, of equal ones the lower id
//
// So log p(v) = raw[r][v] - largest[r] - log sum[r]. Parallel over rows; a row is read twice (three times
// where `allowed` is not `raw`), and stays in cache in between. About 15 operations a logit, almost all of
// them exp.
#pragma once
#include <stdint.h>

#include "common/dtype.h"

namespace pyrnn::search {

// A list of candidates is kept sorted by moving the others up, which is meant for short ones.
constexpr int64_t kMostWidth = 128;

struct Choice {
  int64_t rows, V, width, count_banned;
  const void* raw;        // S [rows][V]
  const void* allowed;    // S [rows][V], -inf for what may not come; `raw` itself where everything may
  const int64_t* banned;  // [count_banned] ids that may not come in any row
  double* largest;        // [rows]; NaN where the row has one
  double* sum;            // [rows], of no meaning where `largest` is infinite or NaN; null: not wanted
  double* values;         // [rows][width]; -inf behind the last that may come
  int64_t* ids;           // [rows][width]; 0 there
};

// One storage type and instruction set.
struct Kernels {
  void (*choose)(const Choice&, int64_t begin, int64_t end);  // for rows [begin, end)
};

}  // namespace pyrnn::search
