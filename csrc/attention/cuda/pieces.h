// 16 bytes of neighbouring numbers: what a thread loads or stores at once.
#pragma once
#include "common/cuda/scalar.h"

namespace pyrnn::attention::cuda {

template <class S>
struct alignas(16) Piece {
  static constexpr int kNumbers = 16 / int(sizeof(S));
  S number[kNumbers];
};

// Where thread `thread` of block `block` is in rows of `each` (below 2^31) that follow each other, `threads`
// to a block: of the two divisions the one of 64 bits is the same for the whole block.
struct RowPlace {
  int64_t row;
  int at;  // within the row

  __device__ __forceinline__ RowPlace(int64_t block, int threads, unsigned thread, int64_t each) {
    const int64_t begin = block * threads, first = begin / each;
    const unsigned behind = unsigned(begin - first * each) + thread, further = behind / unsigned(each);
    row = first + further, at = int(behind - further * unsigned(each));
  }
};

}  // namespace pyrnn::attention::cuda
