// Adds what the blocks that shared the work of the same gradients found: always in the same order.
#pragma once
#include "attention/cuda/calls.h"
#include "attention/cuda/pieces.h"

namespace pyrnn::attention::cuda {

constexpr int kSplitSumThreads = 128;

// A thread has as many neighbouring numbers as 16 bytes of the gradient hold, or one where its rows are not
// made of those.
template <class S>
__global__ void __launch_bounds__(kSplitSumThreads)
    split_sum_kernel(const __grid_constant__ SplitSumCall call) {
  using A = typename Accumulate<S>::type;
  constexpr int kNumbers = Piece<S>::kNumbers, kOfPart = Piece<A>::kNumbers;
  const unsigned head = blockIdx.x / unsigned(call.blocks), heads = unsigned(call.heads);
  const RowPlace place(blockIdx.x - head * call.blocks, kSplitSumThreads, threadIdx.x, call.pieces);
  if (place.row >= call.rows) return;
  const int64_t count = call.B * call.heads * call.rows * call.features;
  const int feature = place.at * (call.whole ? kNumbers : 1);
  const A* part =
      static_cast<const A*>(call.partial) + (head * call.rows + place.row) * call.features + feature;
  S* to = static_cast<S*>(call.to.data) + head / heads * call.to.batch + head % heads * call.to.head +
          place.row * call.to.row + feature;
  A sum[kNumbers]{};
  if (call.whole) {
    for (int64_t i = 0; i < call.splits; i++, part += count)
#pragma unroll
      for (int k = 0; k < kNumbers / kOfPart; k++) {
        const Piece<A> piece = reinterpret_cast<const Piece<A>*>(part)[k];
#pragma unroll
        for (int j = 0; j < kOfPart; j++) sum[k * kOfPart + j] += piece.number[j];
      }
    Piece<S> all;
#pragma unroll
    for (int j = 0; j < kNumbers; j++) all.number[j] = narrow<S>(sum[j] * A(call.scale));
    *reinterpret_cast<Piece<S>*>(to) = all;
  } else {
    for (int64_t i = 0; i < call.splits; i++, part += count) sum[0] += *part;
    *to = narrow<S>(sum[0] * A(call.scale));
  }
}

}  // namespace pyrnn::attention::cuda
