// Which kernels compute a call, and in how many blocks: decided from sizes and device alone.
#pragma once
#include <string>
#include <vector>

#include "attention/cuda/calls.h"
#include "attention/cuda/kernels.h"

namespace pyrnn::attention::cuda {

// Kernels of the forward pass: those of every device since 8.0, and those of 9.0a, which stay on their
// multiprocessors and are fed by its copy engine (hopper_forward.h).
enum Generation { kAnyGeneration, kAmpere, kHopper };

struct ForwardPlan {
  const ForwardKernel* kernel;
  Generation generation;
  int64_t row_tiles;  // of one batch entry and head of the keys
  int64_t splits, section, blocks;
  size_t scratch_bytes;
  std::string why;
};

// One launch of the backward pass for gradients, and the sum of its splits.
struct GradientStep {
  const BackwardKernel* kernel;
  bool d_q, d_k, d_v;  // what it is wanted for
  int64_t tiles, splits, blocks;
  size_t d_v_at;  // of the sums of d_v, behind those of d_k
};

struct PairPlan {
  const PairKernel* kernel;
  int64_t query_tiles, key_tiles, blocks;
  MaskSums sums;  // of the mask's gradient; its address is the caller's
  size_t scratch_bytes;
};

// Sizes of the mask whose gradient is asked for: those of [B, H, T, S], or 1.
struct MaskSizes {
  int64_t batch, heads, queries, keys;
};

struct BackwardPlan {
  const BackwardKernel* delta_of_weights;  // null: none are given
  std::vector<GradientStep> steps;
  MaskSizes mask;
  PairPlan of_mask;      // where the mask's gradient is wanted
  size_t queries_bytes;  // of the QueryNumbers, at the begin of the scratch; the sums of splits follow
  size_t scratch_bytes;
};

constexpr int64_t kMostPlaces = (1 << 30) - 1;  // a query or key has a place in 31 bits, with room for sums

const KernelSet& cuda_kernels(int64_t dtype);
const PairKernelSet& cuda_pair_kernels(int64_t dtype);
const BackwardKernelSet& cuda_backward_kernels(int64_t dtype);

// Nothing but scale, causal order, window and lengths changes its scores.
bool is_plain(const Problem& p);

// They raise std::invalid_argument where no kernel computes the call, or none of the generation asked for.
ForwardPlan plan_forward(const Problem& p, const Device& device, Generation generation = kAnyGeneration);

PairPlan plan_weights(const Problem& p);
PairPlan plan_mask_gradient(const Problem& p, const MaskSizes& mask, const Device& device);
BackwardPlan plan_backward(const Problem& p, const MaskSizes& mask, const Device& device);

}  // namespace pyrnn::attention::cuda
