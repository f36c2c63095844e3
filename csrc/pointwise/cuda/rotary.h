// Pairs of features turned by the angles of their positions.
//
// A row is taken by as many threads as it has pieces, at most a warp; a thread divides its first row's number
// by the sizes, and finds those behind by adding the steps of all threads, with carries. A piece is loaded
// and stored at once where all rows start at multiples of 16 bytes. Bytes: each number once, and the table,
// which all heads and sequences share, out of the caches.
#pragma once
#include "pointwise/cuda/pieces.h"

namespace pyrnn::pointwise::cuda {

template <class S>
__global__ void __launch_bounds__(kThreads) rotary_kernel(const __grid_constant__ RotaryCall call) {
  using A = typename Accumulate<S>::type;
  constexpr int N = Piece<S>::kElements;
  const RotaryProblem& p = call.problem;
  const int64_t thread = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t lane = thread % call.lanes, rows = p.size0 * p.size1 * p.size2;
  int64_t row = thread / call.lanes;
  int64_t i2 = row % p.size2, i1 = row / p.size2 % p.size1, i0 = row / p.size2 / p.size1;
  while (row < rows) {
    const int64_t from = i0 * p.x0 + i1 * p.x1 + i2 * p.x2;
    const A* table = static_cast<const A*>(p.table) + i0 * p.table0 + i1 * p.table1 + i2 * p.table2;
    for (int64_t c = lane * N; c < p.features; c += call.lanes * N) {
      const int64_t count = p.features - c;
      const bool whole = call.aligned && count >= N;
      Piece<S> piece;
      load_piece(piece, p.x, from + c, count, whole);
#pragma unroll
      for (int e = 0; e < N; e += 2)
        if (c + e < p.turned) {
          const A a = widen<S>(piece.element[e]), b = widen<S>(piece.element[e + 1]);
          const A cos = table[c + e], sin = p.back ? -table[c + e + 1] : table[c + e + 1];
          piece.element[e] = narrow<S>(a * cos - b * sin);
          piece.element[e + 1] = narrow<S>(a * sin + b * cos);
        }
      store_piece(piece, p.out, row * p.features + c, count, whole);
    }
    row += call.step;
    i2 += call.step2;
    i1 += call.step1 + (i2 >= p.size2);
    if (i2 >= p.size2) i2 -= p.size2;
    i0 += call.step0 + (i1 >= p.size1);
    if (i1 >= p.size1) i1 -= p.size1;
  }
}

}  // namespace pyrnn::pointwise::cuda
