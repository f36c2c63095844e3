// Gradients of weights: sums of outer products over tokens, C [M][n] (+)= left^T right, left [K][M], right
// [K][n].
//
// `right` is packed once for all threads, in panels [panels][K][kColumns]; each thread owns blocks of the
// rows of C, packs its part of `left` for them, and keeps it in the second-level cache.
#pragma once
#include "common/pack.h"

namespace pyrnn {
namespace {

template <class S, class Op>
struct OuterProduct {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  static constexpr int L = kLanes<A>, kVectors = 2, kColumns = kVectors * L, MR = max_rows(kVectors);
  static constexpr int64_t kBlock = 64 / MR * MR;  // rows of C
  static constexpr int64_t kTogetherBytes = 32 << 10;

  Element* left;         // [kBlock][K], private
  int64_t panel_stride;  // elements between panels of `right`

  // `count` columns of the left operand, at most kBlock; adds their sums over K to `sums`.
  void pack_left(const Storage* from, int64_t stride, int64_t K, int64_t count, A* sums) const {
    for (int64_t u = 0; u < count; u += MR)
      pack_transposed_tile<Op, MR>(left + u * elements<Op>(K), from + u, stride, K, int(min(MR, count - u)),
                                   sums + u);
  }

  // The `count` rows of C from `row`, those of pack_left; the first time they are set, else added to; the
  // last time they are written to `final`, if that has another type. Full tiles are written in place, others
  // through a buffer. As many panels as the first cache holds take turns, so that rows of C are written in
  // longer pieces.
  void multiply(const Element* panels, int64_t K, int64_t row, int64_t count, int64_t n, A* C, S* final,
                bool first, bool last) const {
    const int64_t all = ceil_div(n, kColumns);
    const int64_t bytes =
        max(1, elements<Op>(K)) * kColumns * int64_t(sizeof(Element));  // K is 0 behind lengths
    const int64_t together = max(1, kTogetherBytes / bytes);
    for (int64_t begin = 0; begin < all; begin += together)
      for (int64_t u = 0; u < count; u += MR)
        for (int64_t i = begin; i < min(begin + together, all); i++) {
          const int valid = int(min(MR, count - u));
          const int64_t columns = n - i * kColumns;
          A* c = C + (row + u) * n + i * kColumns;
          TileArgs<Op> tile = {elements<Op>(K),
                               left + u * elements<Op>(K),
                               1,
                               MR,
                               panels + i * panel_stride,
                               first ? nullptr : c,
                               n,
                               c,
                               n};
          if (columns >= kColumns) {
            run_tile<Op, kVectors>(valid, tile);
            continue;
          }
          alignas(64) A buffer[MR * kColumns] = {};
          for (int r = 0; r < valid && !first; r++)
            for (int64_t j = 0; j < columns; j++) buffer[r * kColumns + j] = c[r * n + j];
          tile.init = tile.c = buffer;
          tile.init_row = tile.c_row = kColumns;
          run_tile<Op, kVectors>(valid, tile);
          for (int r = 0; r < valid; r++)
            for (int64_t j = 0; j < columns; j++) c[r * n + j] = buffer[r * kColumns + j];
        }
    if constexpr (!kSame<S, A>)
      if (last) write(C + row * n, final + row * n, count * n);
  }

  static void write(const A* from, S* to, int64_t n) {
    for (int64_t i = 0; i < n; i += L) store_n(to + i, load_n<A>(from + i, n - i), n - i);
  }
};

}  // namespace
}  // namespace pyrnn
