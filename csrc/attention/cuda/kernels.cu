// All kernels of the forward pass of one storage type; compiled once for each (PYRNN_STORAGE, PYRNN_DTYPE).
#include "attention/cuda/combine.h"
#include "attention/cuda/describe.h"
#include "attention/cuda/forward.h"

namespace pyrnn::attention::cuda {
namespace {

constexpr char kForward[] = "attention", kCombine[] = "attention's sum of splits";

template <class S, class Shape, bool kPlain>
constexpr ForwardKernel forward_of() {
  return tile_kernel<ForwardCall, forward_kernel<S, Shape, kPlain>, kForward, Shape,
                     ForwardBlock<S, Shape, kPlain>>(kPlain);
}

// Shape<features, tiles of 16 rows a warp, warps, keys at a time>: 96 KiB of shared memory at most, which
// every device since 8.0 has. On tensor cores two tiles a warp read keys and values half as often.
template <class S, size_t kBytes = sizeof(S)>
struct Kernels {
  static constexpr ForwardKernel forward[] = {
      forward_of<S, Shape<64, 2, 4, 64>, true>(),    //
      forward_of<S, Shape<64, 2, 4, 64>, false>(),   //
      forward_of<S, Shape<128, 1, 1, 32>, false>(),  // few rows
      forward_of<S, Shape<128, 2, 4, 48>, true>(),   // as many keys as the registers allow
      forward_of<S, Shape<128, 2, 4, 32>, false>(),  //
      forward_of<S, Shape<256, 1, 1, 16>, false>(),  // few rows
      forward_of<S, Shape<256, 1, 4, 32>, false>(),
  };
};
template <class S>
struct Kernels<S, sizeof(float)> {
  static constexpr ForwardKernel forward[] = {
      forward_of<S, Shape<128, 1, 1, 16>, false>(),  // few rows
      forward_of<S, Shape<128, 1, 4, 32>, false>(),  //
      forward_of<S, Shape<256, 1, 2, 16>, false>(),
  };
};
template <class S>
struct Kernels<S, sizeof(double)> {
  static constexpr ForwardKernel forward[] = {forward_of<S, Shape<128, 1, 2, 16>, false>()};
};

template <class S>
constexpr KernelSet kernel_set() {
  return {list_of(Kernels<S>::forward, sizeof Kernels<S>::forward), sizeof(typename Accumulate<S>::type),
          flat_kernel<ForwardCall, combine_kernel<S>, kCombine>(kCombineThreads)};
}

}  // namespace

#define PYRNN_NAME_(dtype) pyrnn_cuda_attention_##dtype
#define PYRNN_NAME(dtype) PYRNN_NAME_(dtype)
extern "C" const KernelSet PYRNN_NAME(PYRNN_DTYPE) = kernel_set<PYRNN_STORAGE>();

}  // namespace pyrnn::attention::cuda
