// What each kernel is given.
#pragma once
#include "attention/problem.h"

namespace pyrnn::attention::cuda {

struct ForwardCall {
  Problem p;
  int64_t row_tiles, splits, keys_per_split;
  // With splits: what each found, not yet divided by its sum, A [splits, B * K * T * group, V], and the shift
  // and sum of its softmax, A [splits, B * K * T * group, 2].
  void *partial_out, *partial_statistics;
};

}  // namespace pyrnn::attention::cuda
