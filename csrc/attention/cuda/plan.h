// Which kernels compute a call, and in how many blocks: decided from sizes and device alone.
#pragma once
#include <string>

#include "attention/cuda/kernels.h"

namespace pyrnn::attention::cuda {

struct ForwardPlan {
  const ForwardKernel* kernel;
  int64_t row_tiles;  // of one batch entry and head of the keys
  int64_t splits, keys_per_split;
  size_t scratch_bytes;
  std::string why;
};

constexpr int64_t kMostFeatures = 256;      // of any kernel
constexpr int64_t kMostPlaces = (1 << 30) - 1;  // a query or key has a place in 31 bits, with room for sums

const KernelSet& cuda_kernels(int64_t dtype);

// Nothing but scale, causal order, window and lengths changes its scores.
bool is_plain(const Problem& p);

// Raises std::invalid_argument where no kernel computes the call.
ForwardPlan plan_forward(const Problem& p, const Device& device);

}  // namespace pyrnn::attention::cuda
