// Buffers that a thread fills and warps empty, in turn: barriers in shared memory say which are full, and
// which are empty again.
#pragma once
#include "common/cuda/ptx90.h"

namespace pyrnn::attention::cuda {

// Whose turn it is: a buffer, and how often, modulo 2, all of them have been used.
template <int kBuffers>
struct Turn {
  int buffer = 0;
  unsigned phase = 0;

  __device__ __forceinline__ void next() {
    if (++buffer < kBuffers) return;
    buffer = 0, phase ^= 1;
  }
};

// One arrival of the warp. Whatever its threads have read of a buffer before, they have read.
__device__ __forceinline__ void warp_arrives(uint64_t* barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(barrier);
}

template <int kBuffersOf>
struct Ring {
  static constexpr int kBuffers = kBuffersOf, kBarriers = 2 * kBuffers;
  using TurnOf = Turn<kBuffers>;

  uint64_t* barriers;  // full ones, empty ones

  // By one thread. A buffer is full once it is told what to expect and that has come, empty once `emptied`
  // warps have arrived.
  __device__ __forceinline__ void init(unsigned emptied) const {
    for (int i = 0; i < kBuffers; i++) {
      ptx::mbarrier_init(full(i), 1);
      ptx::mbarrier_init(empty(i), emptied);
    }
  }

  __device__ __forceinline__ uint64_t* full(int i) const { return barriers + i; }
  __device__ __forceinline__ uint64_t* empty(int i) const { return barriers + kBuffers + i; }

  __device__ __forceinline__ void wait_until_full(const TurnOf& turn) const {
    ptx::mbarrier_wait(full(turn.buffer), turn.phase);
  }
  // All are empty in the beginning.
  __device__ __forceinline__ void wait_until_empty(const TurnOf& turn) const {
    ptx::mbarrier_wait(empty(turn.buffer), turn.phase ^ 1);
  }
  __device__ __forceinline__ void release(const TurnOf& turn) const { warp_arrives(empty(turn.buffer)); }
};

}  // namespace pyrnn::attention::cuda
