// Forward pass: online softmax over tiles of keys for the rows of queries that a block owns (Dao, 2023).
//
// Keys and values stream through two buffers each: while a tile is multiplied the next one arrives. With
// `splits` several blocks share the keys of the same rows, and combine.h puts their parts together.
#pragma once
#include "attention/cuda/calls.h"
#include "attention/cuda/query_block.h"

namespace pyrnn::attention::cuda {

template <class S, class Shape, bool kPlain>
struct ForwardBlock : QueryBlock<S, Shape, kPlain> {
  using Base = QueryBlock<S, Shape, kPlain>;
  using Base::D, Base::V, Base::dropout, Base::p, Base::range, Base::row_of, Base::rows, Base::transform,
      Base::warp_row;
  using Base::kKeys, Base::kM, Base::kN, Base::kThreads;
  using typename Base::A, typename Base::KeyTile, typename Base::QueryTile;
  static constexpr int kV = Shape::kFeatures / 8;

  static constexpr size_t shared_bytes() { return QueryTile::bytes() + 4 * KeyTile::bytes(); }

  const ForwardCall& call;
  QueryTile q;
  TwoTiles<KeyTile> k, v;
  A shift[kM][2], sum[kM][2];
  A out[kM][kV][4];

  __device__ __forceinline__ ForwardBlock(const ForwardCall& of, const Place& place, int64_t tile,
                                          SharedAllocator shared)
      : Base(of.p, place, tile), call(of) {
    q.take(shared), k.take(shared), v.take(shared);
    clear(out);
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) shift[m][half] = negative_infinity<A>(), sum[m][half] = 0;
  }

  __device__ __forceinline__ void run(int64_t split) {
    const KeyRange keys = this->keys_of_split(split, call.splits, call.keys_per_split);
    const int j0 = keys.begin / kKeys * kKeys, tiles = this->tiles_of(keys);
    this->load_queries(q, p.q, D);
    if (tiles > 0) this->load_keys(k[0], p.k, D, j0);
    ptx::cp_async_commit();
    if (tiles > 0) this->load_keys(v[0], p.v, V, j0);
    ptx::cp_async_commit();
    for (int i = 0; i < tiles; i++) {
      const int j = j0 + i * kKeys;
      const bool partial = this->is_partial(keys, j);
      if (i + 1 < tiles) this->load_keys(k[(i + 1) % 2], p.k, D, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<2>();  // all but values of this tile and keys of the next have landed
      __syncthreads();
      A x[kM][kN][4];
      clear(x);
      Product<S>::rows_by_rows(x, q, warp_row, k[i % 2], D);
      make_scores(x, j, partial, keys);
      softmax(x);
      if (!kPlain && dropout.active) drop(x, j);
      if (i + 1 < tiles) this->load_keys(v[(i + 1) % 2], p.v, V, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<2>();
      const bool nonfinite = partial && v[i % 2].template own_part_has_nonfinite<kThreads>();
      if (__syncthreads_or(nonfinite))
        visible_sums_by_rows<S>(out, x, v[i % 2], V);
      else
        Product<S>::sums_by_rows(out, x, v[i % 2], V);
    }
    ptx::cp_async_wait<0>();
    write(split);
  }

 private:
  __device__ __forceinline__ void make_scores(A (&x)[kM][kN][4], int j, bool partial, KeyRange keys) const {
    if (kPlain && !partial) {
#pragma unroll
      for (int m = 0; m < kM; m++)
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) x[m][n][i] = transform.scaled(x[m][n][i]);
      return;
    }
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = row_of(m, half), t = rows.query(row);
        const int begin = max(range[m][half].begin, keys.begin), end = min(range[m][half].end, keys.end);
        const int64_t h = kPlain ? 0 : rows.head(row);
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int odd = 0; odd < 2; odd++) {
            A& s = x[m][n][half * 2 + odd];
            const int key = j + n * 8 + sum_column() + odd;
            if (key < begin || key >= end)
              s = negative_infinity<A>();
            else
              s = kPlain ? transform.scaled(s) : transform.full(s, rows.b, h, t, key);
          }
      }
  }

  // Scores become weights, not yet divided by their sum; earlier sums are rescaled to the new shift.
  __device__ __forceinline__ void softmax(A (&x)[kM][kN][4]) {
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
        const A factor = weight_of<S>(shift[m][half] - offset);  // 0 where no key was visible before
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
        sum[m][half] = sum[m][half] * factor + added;  // of this lane's keys alone
        if (!__any_sync(~0u, factor != 1)) continue;   // a new shift is rare after the first tiles
#pragma unroll
        for (int n = 0; n < kV; n++) out[m][n][half * 2] *= factor, out[m][n][half * 2 + 1] *= factor;
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
  __device__ __forceinline__ int64_t partial_row(int64_t split, int row) const {
    return ((split * p.B + rows.b) * p.K + rows.kv) * rows.count + row;
  }
};

template <class S, class Shape, bool kPlain>
__global__ void __launch_bounds__(Shape::kThreads) forward_kernel(const __grid_constant__ ForwardCall call) {
  DYNAMIC_SHARED(shared);
  const Place place(call.p, call.row_tiles * call.splits);
  // The last rows see the most keys where order is causal: they start first.
  const int64_t tile = call.row_tiles - 1 - place.part / call.splits, split = place.part % call.splits;
  ForwardBlock<S, Shape, kPlain>(call, place, tile, SharedAllocator{shared}).run(split);
}

}  // namespace pyrnn::attention::cuda
