// All kernels of one storage type; compiled once for each (PYRNN_STORAGE, PYRNN_DTYPE).
#include "recurrent/cuda/kernels.h"

#include "recurrent/cuda/prepare_kernel.h"
#include "recurrent/cuda/recurrence_kernel.h"
#include "recurrent/cuda/replay_kernel.h"

namespace pyrnn::recurrent::cuda {
namespace {

template <void (*kKernel)(Recurrence)>
cudaError_t launch_kernel(const Recurrence& w, const LaunchShape& shape, cudaStream_t stream) {
  return launch("recurrence", kKernel, shape, stream, w);
}

template <class Step, int kTiles>
constexpr size_t kSumsBytes = tile_bytes<typename Step::A>(kSums<Step, kTiles>);

template <class Step, int kTiles>
constexpr Kernel grid_kernel() {
  constexpr auto kKernel = recurrence_kernel<Step, GridExchange, kTiles>;
  return {kTiles * kTileRows, kSumsBytes<Step, kTiles>, launch_kernel<kKernel>,
          [](size_t shared, int) { return blocks_per_sm<kKernel>(kBlockThreads, shared); }};
}

template <class Step, int kTiles>
constexpr Kernel cluster_kernel() {
  constexpr auto kKernel = recurrence_kernel<Step, ClusterExchange, kTiles>;
  constexpr size_t kExchange =
      ClusterExchange<typename Step::Product, Step::kTerms>::shared_bytes(kTiles * kTileRows);
  return {kTiles * kTileRows, kSumsBytes<Step, kTiles> + kExchange, launch_kernel<kKernel>,
          [](size_t shared, int size) { return clusters_at_once<kKernel>(kBlockThreads, shared, size); }};
}

template <class Cell, class S, Pass kPass, class Step>
constexpr PassKernels pass_of() {
  using Types = BlockTypes<Cell, S, kPass>;
  constexpr int kMany = Types::Product::kMaxTiles;
  return {Types::M,
          Types::kTerms,
          {grid_kernel<Step, 1>(), grid_kernel<Step, kMany>()},
          {cluster_kernel<Step, 1>(), cluster_kernel<Step, kMany>()},
          launch_kernel<prepare_kernel<Cell, S, kPass>>};
}

template <class Cell, class S>
constexpr CellKernels cell_of() {
  return {{pass_of<Cell, S, Pass::forward, Forward<Cell, S>>(),
           pass_of<Cell, S, Pass::backward, Backward<Cell, S>>()},
          launch_kernel<replay_kernel<Cell, S>>};
}

template <class S, class... Cell>
constexpr KernelSet kernel_set(CellList<Cell...>) {
  using Types = BlockTypes<LstmCell, S, Pass::forward>;
  return {sizeof(typename Types::Element),
          sizeof(typename Types::A),
          Types::Product::kBlock,
          {cell_of<Cell, S>()...}};
}

}  // namespace

#define PYRNN_NAME_(dtype) pyrnn_cuda_##dtype
#define PYRNN_NAME(dtype) PYRNN_NAME_(dtype)
extern "C" const KernelSet PYRNN_NAME(PYRNN_DTYPE) = kernel_set<PYRNN_STORAGE>(Cells{});

}  // namespace pyrnn::recurrent::cuda
