// How the .cu files tell the planner of their kernels.
#pragma once
#include "attention/cuda/kernels.h"

namespace pyrnn::attention::cuda {

// `kName` is for messages of failed launches.
template <class Call, auto kKernel, const char* kName>
constexpr FlatKernel<Call> flat_kernel(int threads) {
  return {threads, [](const Call& call, const LaunchShape& shape, cudaStream_t stream) {
            return launch(kName, kKernel, shape, stream, call);
          }};
}

template <class Call, auto kKernel, const char* kName, class Shape, class Block>
constexpr TileKernel<Call> tile_kernel(bool plain) {
  return {Shape::kFeatures,
          Shape::kRows,
          Shape::kSteps,
          plain,
          Block::shared_bytes(),
          flat_kernel<Call, kKernel, kName>(Shape::kThreads),
          [] { return blocks_per_sm<kKernel>(Shape::kThreads, Block::shared_bytes()); }};
}

template <class Kernel>
constexpr KernelList<Kernel> list_of(const Kernel* kernels, size_t bytes) {
  return {kernels, int(bytes / sizeof(Kernel))};
}

}  // namespace pyrnn::attention::cuda
