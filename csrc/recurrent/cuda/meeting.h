// How blocks of one launch meet: a counter in global memory that each adds to once a step.
//
// The launch is cooperative, so every block that is waited for is running.
#pragma once
#include "scalar.h"

namespace pyrnn {

// All stores of the block before `arrive` are seen by every block after its `wait` for the same step.
__device__ __forceinline__ void arrive(unsigned* arrivals) {
  __syncthreads();
  if (threadIdx.x == 0) ptx::red_add_release(arrivals, 1);
}
__device__ __forceinline__ void wait(const unsigned* arrivals, unsigned count) {
  if (threadIdx.x == 0) {
#ifdef PYRNN_CUDA_DEBUG
    for (int64_t polls = 0; int(ptx::ld_acquire(arrivals) - count) < 0; polls++)
      if (polls > int64_t(1) << 28) ptx::trap();  // a block is not running: better an error than a hang
#else
    while (int(ptx::ld_acquire(arrivals) - count) < 0) {
    }
#endif
  }
  __syncthreads();
}

}  // namespace pyrnn
