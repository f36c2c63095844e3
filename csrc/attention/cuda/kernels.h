// What kernels.cu and pairs.cu define, once for each storage type: launches, and what a planner must know of
// each kernel.
#pragma once
#include "attention/problem.h"
#include "common/cuda/device.h"

namespace pyrnn::attention::cuda {

struct ForwardCall;
struct PairCall;

struct ForwardKernel {
  int features, rows, keys;  // of its tiles
  bool plain;                // no mask, padding, slopes, softcap or dropout
  int threads;
  size_t shared;
  cudaError_t (*launch)(const ForwardCall&, const LaunchShape&, cudaStream_t);
  int (*blocks_per_sm)();
};

struct KernelSet {
  const ForwardKernel* forward;  // by features, then by rows; the plain one of a shape first
  int forward_count;
  size_t sum;  // bytes of a number in the sums
  cudaError_t (*combine)(const ForwardCall&, const LaunchShape&, cudaStream_t);
  int combine_threads;
};

struct PairKernel {
  int features, rows, keys, threads;
  size_t shared;
  cudaError_t (*launch)(const PairCall&, const LaunchShape&, cudaStream_t);
};

struct PairKernelSet {
  const PairKernel *weights, *mask_gradient;  // by features
  int count;                                  // of each
  cudaError_t (*sum_mask)(const PairCall&, const LaunchShape&, cudaStream_t);
  int sum_threads;
};

extern "C" const KernelSet pyrnn_cuda_attention_float32, pyrnn_cuda_attention_bfloat16,
    pyrnn_cuda_attention_float64, pyrnn_cuda_attention_float16;
extern "C" const PairKernelSet pyrnn_cuda_attention_pairs_float32, pyrnn_cuda_attention_pairs_bfloat16,
    pyrnn_cuda_attention_pairs_float64, pyrnn_cuda_attention_pairs_float16;

}  // namespace pyrnn::attention::cuda
