// Launches of one pass. Everything is enqueued on the caller's stream; nothing waits.
#pragma once
#include "attention/cuda/plan.h"

namespace pyrnn::attention::cuda {

struct Launch {
  int device;
  cudaStream_t stream;
  void* scratch;                                            // scratch_bytes of the plan; need not be cleared
  int64_t mask_batch, mask_heads, mask_queries, mask_keys;  // sizes of d_mask, if it is wanted
  int generation;                                           // of the forward pass: a Generation

  MaskSizes mask() const { return {mask_batch, mask_heads, mask_queries, mask_keys}; }
};

// Rows of q, k, v, out and the gradients start at multiples of 16 bytes, and what lies between D or V and the
// next multiple of 16 bytes of q, k, v and g_out is zeros. They raise std::invalid_argument for what no
// kernel computes, std::runtime_error for what the driver refuses.
void forward(const Problem& p, const Launch& call);
void backward(const Problem& p, const Launch& call);

}  // namespace pyrnn::attention::cuda
