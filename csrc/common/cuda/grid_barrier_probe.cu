#include "common/cuda/grid_barrier_probe.h"

#include "common/cuda/check.h"
#include "common/cuda/grid_barrier.h"

namespace pyrnn {
namespace {

__global__ void __launch_bounds__(kGridBarrierThreads, 1)
    grid_barrier_kernel(unsigned* arrivals, int64_t steps) {
  for (int64_t s = 1; s <= steps; s++) {
    arrive(arrivals);
    wait(arrivals, unsigned(s) * gridDim.x);
  }
}

}  // namespace

void run_grid_barriers(unsigned* arrivals, int blocks, int64_t steps, cudaStream_t stream) {
  const LaunchShape shape{dim3(unsigned(blocks)), dim3(kGridBarrierThreads), 0, true, 0};
  check_cuda(launch("grid barriers", grid_barrier_kernel, shape, stream, arrivals, steps),
             "launching grid barriers alone");
}

}  // namespace pyrnn
