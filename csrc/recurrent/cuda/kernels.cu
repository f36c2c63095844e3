// All kernels of one storage type; compiled once for each (PYRNN_STORAGE, PYRNN_DTYPE).
#include "kernels.h"

#include "prepare_kernel.h"
#include "replay_kernel.h"
#include "walk_kernel.h"

namespace pyrnn {
namespace {

template <void (*kKernel)(Walk)>
cudaError_t launch_kernel(const Walk& w, const LaunchShape& shape, cudaStream_t stream) {
  return launch("recurrent walk", kKernel, shape, stream, w);
}

template <class Step, int kTiles>
constexpr WalkKernel walk_of() {
  return {kTiles * kTileRows, carve_bytes<typename Step::A>(kSums<Step, kTiles>),
          launch_kernel<walk_kernel<Step, kTiles>>,
          [](size_t shared) { return blocks_per_sm(walk_kernel<Step, kTiles>, kBlockThreads, shared); }};
}

template <class Cell, class S, Pass kPass, class Step>
constexpr PassKernels pass_of() {
  using Types = BlockTypes<Cell, S, kPass>;
  return {Types::M,
          Types::kTerms,
          {walk_of<Step, 1>(), walk_of<Step, Types::Product::kMaxTiles>()},
          launch_kernel<prepare_kernel<Cell, S, kPass>>};
}

template <class Cell, class S>
constexpr CellKernels cell_of() {
  return {{pass_of<Cell, S, Pass::forward, Forward<Cell, S>>(),
           pass_of<Cell, S, Pass::backward, Backward<Cell, S>>()},
          launch_kernel<replay_kernel<Cell, S>>};
}

template <class S>
constexpr CudaKernelSet kernel_set() {
  using Types = BlockTypes<LstmCell, S, Pass::forward>;
  return {sizeof(typename Types::Element),
          sizeof(typename Types::A),
          Types::Product::kBlock,
          {cell_of<RnnCell<false>, S>(), cell_of<RnnCell<true>, S>(), cell_of<GruCell, S>(),
           cell_of<LstmCell, S>()}};
}

}  // namespace

#define PYRNN_NAME_(dtype) pyrnn_cuda_##dtype
#define PYRNN_NAME(dtype) PYRNN_NAME_(dtype)
extern "C" const CudaKernelSet PYRNN_NAME(PYRNN_DTYPE) = kernel_set<PYRNN_STORAGE>();

}  // namespace pyrnn
