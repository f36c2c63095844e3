// The kernels of pairs.h for one storage type; compiled once for each (PYRNN_STORAGE, PYRNN_DTYPE).
#include "attention/cuda/pairs.h"

#include "attention/cuda/kernels.h"

namespace pyrnn::attention::cuda {
namespace {

template <class S, class Shape>
constexpr PairKernel weights_of() {
  return {Shape::kFeatures,
          Shape::kRows,
          Shape::kSteps,
          Shape::kThreads,
          PairBlock<S, Shape, PairResult::weights>::shared_bytes(),
          [](const PairCall& call, const LaunchShape& shape, cudaStream_t stream) {
            return launch("weights of attention", weights_kernel<S, Shape>, shape, stream, call);
          }};
}

template <class S, class Shape>
constexpr PairKernel mask_gradient_of() {
  return {Shape::kFeatures,
          Shape::kRows,
          Shape::kSteps,
          Shape::kThreads,
          PairBlock<S, Shape, PairResult::mask_gradient>::shared_bytes(),
          [](const PairCall& call, const LaunchShape& shape, cudaStream_t stream) {
            return launch("gradient of attention's mask", mask_gradient_kernel<S, Shape>, shape, stream,
                          call);
          }};
}

// Shape<features, 1, warps, keys at a time>.
template <class S, size_t kBytes = sizeof(S)>
struct Kernels {
  static constexpr PairKernel weights[] = {weights_of<S, Shape<128, 1, 4, 64>>(),
                                           weights_of<S, Shape<256, 1, 2, 32>>()};
  static constexpr PairKernel mask_gradient[] = {mask_gradient_of<S, Shape<128, 1, 4, 32>>(),
                                                 mask_gradient_of<S, Shape<256, 1, 2, 32>>()};
};
template <class S>
struct Kernels<S, 4> {
  static constexpr PairKernel weights[] = {weights_of<S, Shape<256, 1, 2, 16>>()};
  static constexpr PairKernel mask_gradient[] = {mask_gradient_of<S, Shape<256, 1, 1, 16>>()};
};
template <class S>
struct Kernels<S, 8> {
  static constexpr PairKernel weights[] = {weights_of<S, Shape<128, 1, 2, 16>>()};
  static constexpr PairKernel mask_gradient[] = {mask_gradient_of<S, Shape<128, 1, 1, 16>>()};
};

template <class S>
constexpr PairKernelSet kernel_set() {
  constexpr int kCount = int(sizeof Kernels<S>::weights / sizeof(PairKernel));
  static_assert(sizeof Kernels<S>::weights == sizeof Kernels<S>::mask_gradient, "one of each");
  return {Kernels<S>::weights, Kernels<S>::mask_gradient, kCount,
          [](const PairCall& call, const LaunchShape& shape, cudaStream_t stream) {
            return launch("sums of the mask's gradient", sum_mask_kernel<S>, shape, stream, call);
          },
          kSumThreads};
}

}  // namespace

#define PYRNN_NAME_(dtype) pyrnn_cuda_attention_pairs_##dtype
#define PYRNN_NAME(dtype) PYRNN_NAME_(dtype)
extern "C" const PairKernelSet PYRNN_NAME(PYRNN_DTYPE) = kernel_set<PYRNN_STORAGE>();

}  // namespace pyrnn::attention::cuda
