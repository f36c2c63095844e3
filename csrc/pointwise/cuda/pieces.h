// What a thread loads and stores at a time: whole Philox blocks, and at least 16 bytes.
#pragma once
#include "common/cuda/scalar.h"
#include "pointwise/cuda/kernels.h"

namespace pyrnn::pointwise::cuda {

template <class S>
struct alignas(16) Piece {
  static constexpr int kElements = sizeof(S) == 2 ? 8 : 4;
  S element[kElements];
};

// Elements n, n + 1, ... of x into `piece`; where they do not lie in whole pieces, the `count` that are
// there, and zeros.
template <class S>
__device__ __forceinline__ void load_piece(Piece<S>& piece, const void* x, int64_t n, int64_t count,
                                           bool whole) {
  const S* from = static_cast<const S*>(x) + n;
  if (whole) {
    piece = *reinterpret_cast<const Piece<S>*>(from);
    return;
  }
#pragma unroll
  for (int i = 0; i < Piece<S>::kElements; i++) piece.element[i] = i < count ? from[i] : narrow<S>(0);
}

template <class S>
__device__ __forceinline__ void store_piece(const Piece<S>& piece, void* x, int64_t n, int64_t count,
                                            bool whole) {
  S* to = static_cast<S*>(x) + n;
  if (whole) {
    *reinterpret_cast<Piece<S>*>(to) = piece;
    return;
  }
#pragma unroll
  for (int i = 0; i < Piece<S>::kElements; i++)
    if (i < count) to[i] = piece.element[i];
}

}  // namespace pyrnn::pointwise::cuda
