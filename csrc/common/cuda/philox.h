// Philox4x32-7 on the device: the words of common/philox.h, a block at a time.
#pragma once
#include "common/cuda/device.h"

namespace pyrnn {

// The four words of the block with counter (c0, c1, c2, c3).
__device__ __forceinline__ void philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t key0,
                                       uint32_t key1, uint32_t (&word)[4]) {
#pragma unroll
  for (int round = 0; round < 7; round++, key0 += 0x9e3779b9u, key1 += 0xbb67ae85u) {
    const uint64_t p = uint64_t(c0) * 0xd2511f53u, q = uint64_t(c2) * 0xcd9e8d57u;
    c0 = uint32_t(q >> 32) ^ c1 ^ key0;
    c2 = uint32_t(p >> 32) ^ c3 ^ key1;
    c1 = uint32_t(q);
    c3 = uint32_t(p);
  }
  word[0] = c0, word[1] = c1, word[2] = c2, word[3] = c3;
}

}  // namespace pyrnn
