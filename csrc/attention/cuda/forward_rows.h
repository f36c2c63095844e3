// The rows of queries that a warp owns in a forward pass, their softmax and outputs: what the kernels of all
// architectures share (Dao, 2023). Who multiplies hands over a tile of products with the keys, gets its
// weights for the product with the values, and writes the rows in the end.
#pragma once
#include "attention/cuda/query_block.h"

namespace pyrnn::attention::cuda {

template <class S, class Shape, bool kPlain>
struct ForwardRows : QueryBlock<S, Shape, kPlain> {
  using Base = QueryBlock<S, Shape, kPlain>;
  using Base::D, Base::V, Base::dropout, Base::p, Base::range, Base::row_of, Base::rows, Base::transform,
      Base::warp_row;
  using Base::kKeys, Base::kM, Base::kN, Base::kThreads;
  using typename Base::A, typename Base::KeyTile, typename Base::QueryTile;
  static constexpr int kV = Shape::kFeatures / 8;

  const ForwardCall& call;
  A shift[kM][2], sum[kM][2];
  A out[kM][kV][4];

  __device__ __forceinline__ ForwardRows(const ForwardCall& of, const Place& place, int64_t tile)
      : Base(of.p, place, tile), call(of) {
    clear(out);
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) shift[m][half] = negative_infinity<A>(), sum[m][half] = 0;
  }

  // Products with the keys from j on become weights; `partial`: some row may not see some of them.
  __device__ __forceinline__ void weigh(A (&x)[kM][kN][4], int j, bool partial, KeyRange keys,
                                        A (&factor)[kM][2]) {
    make_scores(x, j, partial, keys);
    softmax(x, factor);
    if (!kPlain && dropout.active) drop(x, j);
  }

  __device__ __forceinline__ void rescale(const A (&factor)[kM][2]) {
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const A by = factor[m][half];
        if (!__any_sync(~0u, by != 1)) continue;  // a new shift is rare after the first tiles
#pragma unroll
        for (int n = 0; n < kV; n++) out[m][n][half * 2] *= by, out[m][n][half * 2 + 1] *= by;
      }
  }

  __device__ __forceinline__ void write(int64_t split) {
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        A& all = sum[m][half];
        all += __shfl_xor_sync(~0u, all, 1);
        all += __shfl_xor_sync(~0u, all, 2);
        const int row = row_of(m, half);
        if (row >= rows.count || sum_column() != 0) continue;
        if (call.splits > 1) {
          A* to = static_cast<A*>(call.partial_statistics) + partial_row(split, row) * 2;
          to[0] = shift[m][half], to[1] = all;
        } else if (p.statistics) {
          A* to = static_cast<A*>(p.statistics) + rows.statistics(row);
          to[0] = shift[m][half], to[p.T] = all;
        }
      }
    if (call.splits > 1) {
      store_rows<A>(
          out, V, V % 2 == 0,
          [&](int m, int half) -> A* {
            const int row = row_of(m, half);
            return row < rows.count ? static_cast<A*>(call.partial_out) + partial_row(split, row) * p.V
                                    : nullptr;
          },
          [](int, int) { return A(1); });
      return;
    }
    const A kept = dropout.active ? Dropout::kept<A>(p) : A(1);
    store_rows<S>(
        out, V, is_paired<S>(p.out, p.V),
        [&](int m, int half) -> S* {
          const int row = row_of(m, half);
          return row < rows.count ? rows.template of<S>(p.out, row) : nullptr;
        },
        [&](int m, int half) { return sum[m][half] == 0 ? A(0) : kept / sum[m][half]; });
  }

 private:
  // Products become scores. What changes them comes in passes over the tile, so that all loads of one pass
  // are under way together.
  __device__ __forceinline__ void make_scores(A (&x)[kM][kN][4], int j, bool partial, KeyRange keys) const {
    for_each(x, [&](int, int, int, A& s) { s = transform.scaled(s); });
    if (!kPlain && !transform.only_scales) add_terms(x, j, keys);
    if (!partial) return;
    for_each(x, [&](int m, int half, int column, A& s) {
      const int key = j + column;
      if (!range[m][half].holds(key) || !keys.holds(key)) s = negative_infinity<A>();
    });
  }

  __device__ __forceinline__ void add_terms(A (&x)[kM][kN][4], int j, KeyRange keys) const {
    if (transform.cap > 0) for_each(x, [&](int, int, int, A& s) { s = transform.capped(s); });
    if (p.slopes)
      for_each(x, [&](int m, int half, int column, A& s) {
        const int row = row_of(m, half);
        const A slope = row < rows.count ? transform.slope_of(rows.b, rows.head(row)) : A(0);
        s = transform.biased(s, p.query_start + rows.query(row) - (j + column), slope);
      });
    if (p.mask_kind != kNoMask) {
      const Scores& mask = p.mask;
      for_each(x, [&](int m, int half, int column, A& s) {
        const int row = row_of(m, half), key = j + column;
        if (!range[m][half].holds(key)) return;
        const int64_t at = rows.b * mask.batch + rows.head(row) * mask.head + rows.query(row) * mask.query;
        s = transform.masked(s, at + key * mask.key);
      });
    }
    if (p.padding)
      for_each(x, [&](int, int, int column, A& s) {
        const int key = j + column;
        if (keys.holds(key) && p.padding[rows.b * p.S + key]) s = negative_infinity<A>();
      });
  }

  // Calls change(m, half, column, number) for all of a lane's numbers.
  template <class Change>
  static __device__ __forceinline__ void for_each(A (&x)[kM][kN][4], const Change& change) {
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++)
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int odd = 0; odd < 2; odd++)
            change(m, half, n * 8 + sum_column() + odd, x[m][n][half * 2 + odd]);
  }

  // Scores become weights, not yet divided by their sum. Earlier outputs are to be multiplied with `factor`.
  __device__ __forceinline__ void softmax(A (&x)[kM][kN][4], A (&factor)[kM][2]) {
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        A high = shift[m][half];
#pragma unroll
        for (int n = 0; n < kN; n++) high = larger(high, larger(x[m][n][half * 2], x[m][n][half * 2 + 1]));
        high = larger(high, __shfl_xor_sync(~0u, high, 1));
        high = larger(high, __shfl_xor_sync(~0u, high, 2));
        const A offset = high == negative_infinity<A>() ? A(0) : high;
        factor[m][half] = weight_of<S>(shift[m][half] - offset);  // 0 where no key was visible before
        shift[m][half] = high;
        A added = 0;
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int odd = 0; odd < 2; odd++) {
            A& s = x[m][n][half * 2 + odd];
            s = s == negative_infinity<A>() ? A(-0.0) : weight_of<S>(s - offset);  // -0: masked
            added += s;
          }
        sum[m][half] = sum[m][half] * factor[m][half] + added;  // of this lane's keys alone
      }
  }
  static __device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
  static __device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }

  // What is dropped becomes 0, but a NaN stays, and a masked weight stays one.
  __device__ __forceinline__ void drop(A (&x)[kM][kN][4], int j) const {
#pragma unroll
    for (int m = 0; m < kM; m++) {
      const RowPair pair(rows, row_of(m, 0), row_of(m, 1));
#pragma unroll
      for (int n = 0; n < kN; n++) {
        bool keep[4];
        dropout.keep_queries_by_keys(pair.query, pair.dropout_head, j + n * 8, keep);
#pragma unroll
        for (int i = 0; i < 4; i++)
          if (!keep[i]) x[m][n][i] *= 0;
      }
    }
  }

  __device__ __forceinline__ int64_t partial_row(int64_t split, int row) const {
    return ((split * p.B + rows.b) * p.K + rows.kv) * rows.count + row;
  }
};

}  // namespace pyrnn::attention::cuda
