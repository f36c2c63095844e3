// What kernels.cu defines, once for each storage type.
#pragma once
#include "common/cuda/philox.h"
#include "pointwise/problem.h"

namespace pyrnn::pointwise::cuda {

constexpr int kThreads = 256;  // of a block

// What is dropped, as a kernel is given it.
struct Drop {
  double scale;  // of what is kept
  uint32_t key0, key1, threshold;
  bool drops, keeps_any;

  Drop(int64_t seed, double p)
      : scale(p < 1 ? 1 / (1 - p) : 0),
        key0(uint32_t(seed)),
        key1(uint32_t(uint64_t(seed) >> 32)),
        threshold(kept_from(p)),
        drops(p > 0),
        keeps_any(p < 1) {}

  // The words of elements 4 * block to 4 * block + 3.
  __device__ __forceinline__ void draw(uint64_t block, uint32_t (&word)[4]) const {
    philox(uint32_t(block), uint32_t(block >> 32), 0, 1, key0, key1, word);
  }
  template <class A>
  __device__ __forceinline__ A apply(uint32_t word, A v) const {
    return keeps_any && word >= threshold ? v * A(scale) : A(0);
  }
};

// Problems as a kernel is given them.
struct DropoutCall {
  const void *x, *other;  // as in DropoutProblem
  void* out;
  int64_t count;
  Drop drop;
  bool aligned;  // whether all tensors start at multiples of 16 bytes
};
struct NormCall {
  ResidualNormProblem problem;
  int64_t rows_of_slice;
  Drop drop;
  bool aligned;  // whether all rows, too, start at multiples of 16 bytes
};

struct RotaryCall {
  RotaryProblem problem;
  int64_t lanes;  // threads of a row, a power of two
  int64_t step;   // rows of all threads, and that many in the three dimensions
  int64_t step0, step1, step2;
  bool aligned;  // whether all rows start at multiples of 16 bytes
};

using LaunchDropout = cudaError_t (*)(const DropoutCall&, const LaunchShape&, cudaStream_t);
using LaunchRotary = cudaError_t (*)(const RotaryCall&, const LaunchShape&, cudaStream_t);
using LaunchNorm = cudaError_t (*)(const NormCall&, const LaunchShape&, cudaStream_t);

constexpr int64_t kWarpFeatures = 1024;  // of a row that a warp takes; larger ones take a block
constexpr int kWarps = kThreads / 32;

struct KernelSet {
  LaunchDropout forward[kActivations], backward[kActivations];
  int64_t elements;  // of a thread at a time
  // By a warp a row, and by a block.
  LaunchNorm norm_forward[2], norm_backward[2];
  LaunchNorm norm_partial;  // blocks: 32 pieces of features, slices
  LaunchNorm norm_sums;     // blocks: 32 features, weight and bias
  LaunchRotary rotary;
};

extern "C" const KernelSet pyrnn_cuda_pointwise_float32, pyrnn_cuda_pointwise_bfloat16,
    pyrnn_cuda_pointwise_float64, pyrnn_cuda_pointwise_float16;

}  // namespace pyrnn::pointwise::cuda
