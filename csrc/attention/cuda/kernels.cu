// All kernels of one storage type; compiled once for each (PYRNN_STORAGE, PYRNN_DTYPE).
#include "attention/cuda/kernels.h"

#include "attention/cuda/combine.h"
#include "attention/cuda/forward.h"

namespace pyrnn::attention::cuda {
namespace {

template <class S, class Shape, bool kPlain>
constexpr ForwardKernel forward_of() {
  using Block = ForwardBlock<S, Shape, kPlain>;
  constexpr auto kKernel = forward_kernel<S, Shape, kPlain>;
  return {Shape::kFeatures,
          Shape::kRows,
          Shape::kSteps,
          kPlain,
          Shape::kThreads,
          Block::shared_bytes(),
          [](const ForwardCall& call, const LaunchShape& shape, cudaStream_t stream) {
            return launch("attention", kKernel, shape, stream, call);
          },
          [] { return blocks_per_sm(kKernel, Shape::kThreads, Block::shared_bytes()); }};
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
struct Kernels<S, 4> {
  static constexpr ForwardKernel forward[] = {
      forward_of<S, Shape<128, 1, 1, 16>, false>(),  // few rows
      forward_of<S, Shape<128, 1, 4, 32>, false>(),  //
      forward_of<S, Shape<256, 1, 2, 16>, false>(),
  };
};
template <class S>
struct Kernels<S, 8> {
  static constexpr ForwardKernel forward[] = {forward_of<S, Shape<128, 1, 2, 16>, false>()};
};

template <class S>
constexpr KernelSet kernel_set() {
  constexpr int kForward = int(sizeof Kernels<S>::forward / sizeof(ForwardKernel));
  return {Kernels<S>::forward, kForward, sizeof(typename Accumulate<S>::type),
          [](const ForwardCall& call, const LaunchShape& shape, cudaStream_t stream) {
            return launch("attention's sum of splits", combine_kernel<S>, shape, stream, call);
          },
          kCombineThreads};
}

}  // namespace

#define PYRNN_NAME_(dtype) pyrnn_cuda_attention_##dtype
#define PYRNN_NAME(dtype) PYRNN_NAME_(dtype)
extern "C" const KernelSet PYRNN_NAME(PYRNN_DTYPE) = kernel_set<PYRNN_STORAGE>();

}  // namespace pyrnn::attention::cuda
