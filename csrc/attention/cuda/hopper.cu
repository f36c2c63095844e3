// All kernels of the forward pass for compute capability 9.0a of one storage type of 16 bits; compiled once
// for each (PYRNN_STORAGE, PYRNN_DTYPE), and for that architecture alone.
#include "attention/cuda/describe.h"
#include "attention/cuda/hopper_forward.h"
#include "attention/cuda/tensor_tiles.h"

namespace pyrnn::attention::cuda {
namespace {

constexpr char kName[] = "attention on 9.0a";

template <class S, class Shape, bool kPlain>
cudaError_t launch_hopper(const ForwardCall& call, const LaunchShape& shape, cudaStream_t stream) {
  const Problem& p = call.p;
  const HopperCall work{call, tensor_map(query_tile(p, Shape::kRows)),
                        tensor_map(key_tile(p, p.k, p.D, Shape::kSteps)),
                        tensor_map(key_tile(p, p.v, p.V, Shape::kSteps))};
  return launch(kName, hopper_forward_kernel<S, Shape, kPlain>, shape, stream, work);
}

template <class S, class Shape, bool kPlain>
constexpr ForwardKernel hopper_of() {
  constexpr size_t kShared = HopperBuffers<S, Shape>::bytes();
  return {Shape::kFeatures,
          Shape::kRows,
          Shape::kSteps,
          kPlain,
          kShared,
          {Shape::kBlock, launch_hopper<S, Shape, kPlain>},
          [] { return blocks_per_sm<hopper_forward_kernel<S, Shape, kPlain>>(Shape::kBlock, kShared); }};
}

// HopperShape<features, warpgroups of 64 rows, keys at a time, buffers>.
template <class S>
struct Kernels {
  static constexpr ForwardKernel forward[] = {
      hopper_of<S, HopperShape<64, 2, 128, 3>, true>(),   //
      hopper_of<S, HopperShape<64, 2, 64, 4>, false>(),   //
      hopper_of<S, HopperShape<128, 2, 80, 3>, true>(),   //
      hopper_of<S, HopperShape<128, 2, 64, 3>, false>(),  //
  };
};

}  // namespace

#define PYRNN_NAME_(dtype) pyrnn_cuda_attention_hopper_##dtype
#define PYRNN_NAME(dtype) PYRNN_NAME_(dtype)
extern "C" const KernelList<ForwardKernel> PYRNN_NAME(PYRNN_DTYPE) =
    list_of(Kernels<PYRNN_STORAGE>::forward, sizeof Kernels<PYRNN_STORAGE>::forward);

}  // namespace pyrnn::attention::cuda
