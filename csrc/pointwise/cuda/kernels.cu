// All kernels of one storage type; compiled once for each (PYRNN_STORAGE, PYRNN_DTYPE).
#include "pointwise/cuda/kernels.h"

#include "pointwise/cuda/dropout.h"
#include "pointwise/cuda/residual_norm.h"
#include "pointwise/cuda/rotary.h"

namespace pyrnn::pointwise::cuda {
namespace {

template <class S, class Activation, bool kBackward>
cudaError_t run(const DropoutCall& call, const LaunchShape& shape, cudaStream_t stream) {
  return launch("dropout", dropout_kernel<S, Activation, kBackward>, shape, stream, call);
}

template <auto kKernel>
cudaError_t run_norm(const NormCall& call, const LaunchShape& shape, cudaStream_t stream) {
  return launch("residual norm", kKernel, shape, stream, call);
}

template <class S>
cudaError_t run_rotary(const RotaryCall& call, const LaunchShape& shape, cudaStream_t stream) {
  return launch("rotary", rotary_kernel<S>, shape, stream, call);
}

template <class S>
constexpr KernelSet kernel_set() {
  return {{run<S, Identity, false>, run<S, Relu, false>, run<S, Gelu, false>, run<S, GeluTanh, false>},
          {run<S, Identity, true>, run<S, Relu, true>, run<S, Gelu, true>, run<S, GeluTanh, true>},
          Piece<S>::kElements,
          {run_norm<norm_forward_kernel<S, 32>>, run_norm<norm_forward_kernel<S, kThreads>>},
          {run_norm<norm_backward_kernel<S, 32>>, run_norm<norm_backward_kernel<S, kThreads>>},
          run_norm<norm_partial_kernel<S>>,
          run_norm<norm_sums_kernel<S>>,
          run_rotary<S>};
}

}  // namespace

#define PYRNN_NAME_(dtype) pyrnn_cuda_pointwise_##dtype
#define PYRNN_NAME(dtype) PYRNN_NAME_(dtype)
extern "C" const KernelSet PYRNN_NAME(PYRNN_DTYPE) = kernel_set<PYRNN_STORAGE>();

}  // namespace pyrnn::pointwise::cuda
