// One call of dropout, of the normalisation of a sum with it, or of rotary embedding, on a GPU: checks,
// launches. It is enqueued on the caller's stream; nothing waits.
#pragma once
#include "common/cuda/device.h"
#include "pointwise/problem.h"

namespace pyrnn::pointwise::cuda {

struct Launch {
  int device;
  cudaStream_t stream;
};

// They raise std::invalid_argument for what no kernel computes, std::runtime_error for what the driver
// refuses.
void dropout_forward(const DropoutProblem& p, const Launch& launch);
void dropout_backward(const DropoutProblem& p, const Launch& launch);
void residual_norm_forward(const ResidualNormProblem& p, const Launch& launch);
void residual_norm_backward(const ResidualNormProblem& p, const Launch& launch);
void rotary(const RotaryProblem& p, const Launch& launch);

}  // namespace pyrnn::pointwise::cuda
