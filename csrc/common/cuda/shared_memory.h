// The dynamic shared memory of a block, handed out in tiles.
#pragma once
#include "common/cuda/device.h"

namespace pyrnn {

constexpr size_t kTileAlign = 16;

// What SharedAllocator::take<T>(n) consumes: kernel and host add up the same numbers.
template <class T>
__host__ __device__ constexpr size_t tile_bytes(size_t n) {
  return (n * sizeof(T) + kTileAlign - 1) / kTileAlign * kTileAlign + kRedZone;
}

// Hands out aligned tiles of the dynamic shared memory, one after the other. Every thread takes them for
// itself.
struct SharedAllocator {
  unsigned char* p;

  template <class T>
  __device__ __forceinline__ T* take(size_t n) {
    T* tile = reinterpret_cast<T*>(p);
#ifdef PYRNN_EMULATE
    emulator::tile(p, n * sizeof(T));
#endif
    p += tile_bytes<T>(n);
    return tile;
  }
};

}  // namespace pyrnn
