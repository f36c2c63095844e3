// All kernels of the backward pass of one storage type; compiled once for each (PYRNN_STORAGE, PYRNN_DTYPE).
#include "attention/cuda/delta.h"
#include "attention/cuda/describe.h"
#include "attention/cuda/key_gradient.h"
#include "attention/cuda/query_gradient.h"
#include "attention/cuda/split_sum.h"

namespace pyrnn::attention::cuda {
namespace {

constexpr char kDelta[] = "attention's delta", kDeltaOfWeights[] = "attention's delta of weights",
               kQueryGradient[] = "attention's gradient of queries",
               kKeyGradient[] = "attention's gradients of keys and values",
               kSplitSum[] = "attention's sum of splits of gradients";

template <class S, class Shape>
constexpr BackwardKernel delta_of_weights() {
  return {tile_kernel<BackwardCall, delta_of_weights_kernel<S, Shape>, kDeltaOfWeights, Shape,
                      DeltaOfWeightsBlock<S, Shape>>(false),
          true, false, false};
}

template <class S, class Shape, bool kPlain>
constexpr BackwardKernel query_gradient() {
  return {tile_kernel<BackwardCall, query_gradient_kernel<S, Shape, kPlain>, kQueryGradient, Shape,
                      QueryGradientBlock<S, Shape, kPlain>>(kPlain),
          true, false, false};
}

template <class S, class Shape, bool kPlain, int kGradients>
constexpr BackwardKernel key_gradient() {
  return {tile_kernel<BackwardCall, key_gradient_kernel<S, Shape, kPlain, kGradients>, kKeyGradient, Shape,
                      KeyGradientBlock<S, Shape, kPlain, kGradients>>(kPlain),
          false, (kGradients & kOfKeys) != 0, (kGradients & kOfValues) != 0};
}

// Shape<features, tiles of 16 rows a warp, warps, rows of the other side at a time>: 96 KiB of shared memory
// at most, which every device since 8.0 has.
template <class S, size_t kBytes = sizeof(S)>
struct Kernels {
  static constexpr BackwardKernel delta[] = {
      delta_of_weights<S, Shape<128, 1, 4, 64>>(),
      delta_of_weights<S, Shape<256, 1, 4, 32>>(),
  };
  static constexpr BackwardKernel gradients[] = {
      query_gradient<S, Shape<64, 2, 4, 48>, true>(),                       //
      query_gradient<S, Shape<64, 2, 4, 32>, false>(),                      //
      query_gradient<S, Shape<128, 2, 4, 32>, true>(),                      //
      query_gradient<S, Shape<128, 1, 4, 64>, false>(),                     //
      query_gradient<S, Shape<256, 1, 4, 16>, false>(),                     //
      key_gradient<S, Shape<64, 1, 4, 64>, true, kOfKeys | kOfValues>(),    //
      key_gradient<S, Shape<64, 1, 4, 64>, false, kOfKeys | kOfValues>(),   //
      key_gradient<S, Shape<128, 1, 4, 32>, true, kOfKeys | kOfValues>(),   //
      key_gradient<S, Shape<128, 1, 4, 32>, false, kOfKeys | kOfValues>(),  //
      key_gradient<S, Shape<256, 1, 2, 16>, false, kOfKeys>(),              //
      key_gradient<S, Shape<256, 1, 4, 16>, false, kOfValues>(),
  };
};
template <class S>
struct Kernels<S, sizeof(float)> {
  static constexpr BackwardKernel delta[] = {
      delta_of_weights<S, Shape<128, 1, 4, 32>>(),
      delta_of_weights<S, Shape<256, 1, 2, 16>>(),
  };
  static constexpr BackwardKernel gradients[] = {
      query_gradient<S, Shape<128, 1, 4, 16>, false>(),
      query_gradient<S, Shape<256, 1, 2, 8>, false>(),
      key_gradient<S, Shape<128, 1, 3, 16>, false, kOfKeys | kOfValues>(),
      key_gradient<S, Shape<256, 1, 1, 8>, false, kOfKeys>(),
      key_gradient<S, Shape<256, 1, 2, 8>, false, kOfValues>(),
  };
};
template <class S>
struct Kernels<S, sizeof(double)> {
  static constexpr BackwardKernel delta[] = {delta_of_weights<S, Shape<128, 1, 2, 16>>()};
  static constexpr BackwardKernel gradients[] = {
      query_gradient<S, Shape<128, 1, 2, 8>, false>(),
      key_gradient<S, Shape<128, 1, 1, 8>, false, kOfKeys>(),
      key_gradient<S, Shape<128, 1, 2, 8>, false, kOfValues>(),
  };
};

template <class S>
constexpr BackwardKernelSet kernel_set() {
  using A = typename Accumulate<S>::type;
  return {sizeof(A),
          sizeof(QueryNumbers<A>),
          flat_kernel<BackwardCall, delta_kernel<S>, kDelta>(kDeltaThreads),
          list_of(Kernels<S>::delta, sizeof Kernels<S>::delta),
          list_of(Kernels<S>::gradients, sizeof Kernels<S>::gradients),
          flat_kernel<SplitSumCall, split_sum_kernel<S>, kSplitSum>(kSplitSumThreads),
          Piece<S>::kNumbers};
}

}  // namespace

#define PYRNN_NAME_(dtype) pyrnn_cuda_attention_backward_##dtype
#define PYRNN_NAME(dtype) PYRNN_NAME_(dtype)
extern "C" const BackwardKernelSet PYRNN_NAME(PYRNN_DTYPE) = kernel_set<PYRNN_STORAGE>();

}  // namespace pyrnn::attention::cuda
