// What kernels.cu defines, once for each storage type.
#pragma once
#include "common/cuda/device.h"
#include "pointwise/problem.h"

namespace pyrnn::pointwise::cuda {

constexpr int kThreads = 256;  // of a block

// A problem as a kernel is given it.
struct DropoutCall {
  const void *x, *other;  // as in DropoutProblem
  void* out;
  int64_t count;
  double scale;  // of what is kept
  uint32_t key0, key1, threshold;
  bool drops, keeps_any;
  bool aligned;  // whether all tensors start at multiples of 16 bytes
};

using LaunchDropout = cudaError_t (*)(const DropoutCall&, const LaunchShape&, cudaStream_t);

struct KernelSet {
  LaunchDropout forward[kActivations], backward[kActivations];
  int64_t elements;  // of a thread at a time
};

extern "C" const KernelSet pyrnn_cuda_pointwise_float32, pyrnn_cuda_pointwise_bfloat16,
    pyrnn_cuda_pointwise_float64, pyrnn_cuda_pointwise_float16;

}  // namespace pyrnn::pointwise::cuda
