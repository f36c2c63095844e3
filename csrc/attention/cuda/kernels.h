// What kernels.cu, hopper.cu, backward.cu and pairs.cu define, once for each storage type: launches, and what
// a planner must know of each kernel.
#pragma once
#include "attention/problem.h"
#include "common/cuda/device.h"

namespace pyrnn::attention::cuda {

struct ForwardCall;
struct BackwardCall;
struct SplitSumCall;
struct PairCall;

template <class Call>
struct FlatKernel {
  int threads;  // of a block
  cudaError_t (*launch)(const Call&, const LaunchShape&, cudaStream_t);
};

// Blocks own some rows and go through the other side of the scores.
template <class Call>
struct TileKernel {
  int features, rows, steps;  // of its tiles; rows of the other side at a time
  bool plain;                 // no mask, padding, slopes, softcap, dropout or gradients of weights
  size_t shared;
  FlatKernel<Call> run;
  int (*blocks_per_sm)();
};
using ForwardKernel = TileKernel<ForwardCall>;
struct BackwardKernel : TileKernel<BackwardCall> {
  bool d_q, d_k, d_v;  // what it computes
};

template <class Kernel>
struct KernelList {  // by features, then by rows; the plain one of a shape first
  const Kernel* first;
  int count;
  const Kernel* begin() const { return first; }
  const Kernel* end() const { return first + count; }
};

struct KernelSet {
  KernelList<ForwardKernel> forward;
  size_t sum;                       // bytes of a number in the sums
  FlatKernel<ForwardCall> combine;  // a warp a query
};

// Of 16-bit types, in builds for compute capability 9.0a.
extern "C" const KernelList<ForwardKernel> pyrnn_cuda_attention_hopper_bfloat16,
    pyrnn_cuda_attention_hopper_float16;

struct BackwardKernelSet {
  size_t sum, query;               // bytes of a number in the sums, and of a query's QueryNumbers
  FlatKernel<BackwardCall> delta;  // kDeltaLanes threads a query
  KernelList<BackwardKernel> delta_of_weights, gradients;
  FlatKernel<SplitSumCall> split_sum;
  int split_numbers;  // of a gradient in 16 bytes
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
extern "C" const BackwardKernelSet pyrnn_cuda_attention_backward_float32,
    pyrnn_cuda_attention_backward_bfloat16, pyrnn_cuda_attention_backward_float64,
    pyrnn_cuda_attention_backward_float16;
extern "C" const PairKernelSet pyrnn_cuda_attention_pairs_float32, pyrnn_cuda_attention_pairs_bfloat16,
    pyrnn_cuda_attention_pairs_float64, pyrnn_cuda_attention_pairs_float16;

}  // namespace pyrnn::attention::cuda
