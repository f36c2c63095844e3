// Launches of one pass. Everything is enqueued on the caller's stream; nothing waits.
#pragma once
#include "attention/cuda/plan.h"

namespace pyrnn::attention::cuda {

struct Launch {
  cudaStream_t stream;
  void* scratch;  // scratch_bytes of the plan; need not be cleared
};

// Rows of q, k, v, out and the gradients start at multiples of 16 bytes, and what lies between D or V and the
// next multiple of 16 bytes of q, k, v and g_out is zeros, and can be read in the backward pass's out. The
// plan is that of the problem on the device in use. They raise std::runtime_error for what the driver
// refuses.
void forward(const Problem& p, const ForwardPlan& plan, const Launch& call);
void backward(const Problem& p, const BackwardPlan& plan, const Launch& call);

}  // namespace pyrnn::attention::cuda
