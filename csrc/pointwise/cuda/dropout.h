// Dropout with an activation before it and a sum after it, forward and backward.
//
// A thread takes a piece at a time: whole Philox blocks, and at least the 16 bytes that one instruction loads
// or stores. Where a tensor does not start at a multiple of 16 bytes, and in the last piece if it is not
// whole, elements are loaded and stored one by one. Bytes: each operand once. Operations beside the
// activation's: about 15 of integers an element for its random word, so that memory remains the limit.
#pragma once
#include "pointwise/activations.h"
#include "pointwise/cuda/pieces.h"

namespace pyrnn::pointwise::cuda {

template <class S, class Activation, bool kBackward>
__global__ void __launch_bounds__(kThreads) dropout_kernel(const __grid_constant__ DropoutCall call) {
  using A = typename Accumulate<S>::type;
  using Math = MathFor<S>;
  constexpr int N = Piece<S>::kElements;
  constexpr bool kReadsX = !kBackward || !std::is_same<Activation, Identity>::value;
  const int64_t stride = int64_t(gridDim.x) * kThreads * N;
  for (int64_t n = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * N; n < call.count; n += stride) {
    const int64_t count = call.count - n;
    const bool whole = call.aligned && count >= N;
    Piece<S> x = {}, other = {}, out;
    if (kReadsX) load_piece(x, call.x, n, count, whole);
    if (call.other) load_piece(other, call.other, n, count, whole);
#pragma unroll
    for (int first = 0; first < N; first += 4) {
      uint32_t word[4] = {};
      if (call.drop.drops) call.drop.draw(uint64_t(n + first) / 4, word);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int e = first + i;
        A v;
        if constexpr (!kBackward)
          v = Activation::template value<Math>(widen<S>(x.element[e]));
        else if constexpr (kReadsX)
          v = Activation::template times_derivative<Math>(widen<S>(x.element[e]), widen<S>(other.element[e]));
        else
          v = widen<S>(other.element[e]);
        if (call.drop.drops) v = call.drop.apply(word[i], v);
        if (!kBackward && call.other) v += widen<S>(other.element[e]);
        out.element[e] = narrow<S>(v);
      }
    }
    store_piece(out, call.out, n, count, whole);
  }
}

}  // namespace pyrnn::pointwise::cuda
