// A barrier of all blocks of one launch: a counter in global memory that each adds to once a step.
//
// The launch is cooperative, so every block that is waited for is running.
#pragma once
#include "common/cuda/scalar.h"

namespace pyrnn {

// All stores of the block before `arrive` are visible to every block after its `wait` for the same step.
__device__ __forceinline__ void arrive(unsigned* arrivals) {
  __syncthreads();
  if (threadIdx.x == 0) ptx::red_add_release(arrivals, 1);
}
constexpr int kMaxPolls =
    1 << 25;  // many seconds: a block is not running, and an error is better than a hang

__device__ __forceinline__ void wait(const unsigned* arrivals, unsigned count) {
  if (threadIdx.x == 0) {
    int polls = 0;
    while (int(ptx::ld_relaxed(arrivals) - count) < 0)
      if (++polls == kMaxPolls) ptx::trap();
    ptx::ld_acquire(arrivals);  // orders what follows; in each poll it would cost more
  }
  __syncthreads();
}

}  // namespace pyrnn
