// d_q: for rows of queries once more through the tiles of keys, d_q = scale * d_score k.
//
// Keys and values stream through two buffers each: while a tile is worked on the next one arrives. With
// `splits` several blocks share the keys of the same rows, and split_sum.h adds their parts.
#pragma once
#include "attention/cuda/calls.h"
#include "attention/cuda/pair_gradient.h"
#include "attention/cuda/query_block.h"

namespace pyrnn::attention::cuda {

template <class S, class Shape, bool kPlain>
struct QueryGradientBlock : QueryBlock<S, Shape, kPlain> {
  using Base = QueryBlock<S, Shape, kPlain>;
  using Base::D, Base::V, Base::dropout, Base::first_row, Base::p, Base::range, Base::row_of, Base::rows,
      Base::warp_row;
  using Base::kKeys, Base::kM, Base::kN, Base::kThreads;
  using typename Base::A, typename Base::KeyTile, typename Base::QueryTile;

  static constexpr size_t shared_bytes() { return 2 * QueryTile::bytes() + 4 * KeyTile::bytes(); }

  const BackwardCall& call;
  const PairGradient<S, kPlain> pair;
  QueryTile q, g;
  TwoTiles<KeyTile> k, v;
  QueryNumbers<A> numbers[kM][2];
  A d_q[kM][Shape::kFeatures / 8][4];

  __device__ QueryGradientBlock(const BackwardCall& of, const Place& place, int64_t tile,
                                SharedAllocator shared)
      : Base(of.p, place, tile), call(of), pair(of.p) {
    q.take(shared), g.take(shared), k.take(shared), v.take(shared);
    clear(d_q);
    const auto* of_rows =
        static_cast<const QueryNumbers<A>*>(call.queries) + (rows.b * p.K + rows.kv) * rows.count;
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = row_of(m, half);
        numbers[m][half] = row < rows.count ? of_rows[row] : QueryNumbers<A>{};
      }
  }

  __device__ void run(int64_t split) {
    const KeyRange keys = this->keys_of_split(split, call.splits, call.per_split);
    const int j0 = keys.begin / kKeys * kKeys, tiles = this->tiles_of(keys);
    const bool has_gradient = p.g_out.data != nullptr;
    this->load_queries(q, p.q, D);
    if (has_gradient) this->load_queries(g, p.g_out, V);
    if (tiles > 0) load(0, j0);
    ptx::cp_async_commit();
    for (int i = 0; i < tiles; i++) {
      const int j = j0 + i * kKeys;
      const bool partial = this->is_partial(keys, j);
      if (i + 1 < tiles) load((i + 1) % 2, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<1>();
      __syncthreads();
      A x[kM][kN][4], d[kM][kN][4];
      clear(x), clear(d);
      Product<S>::rows_by_rows(x, q, warp_row, k[i % 2], D);
      if (has_gradient) Product<S>::rows_by_rows(d, g, warp_row, v[i % 2], V);
      if (kPlain && !partial)
        make_d_scores<true>(x, d, j, keys);
      else
        make_d_scores<false>(x, d, j, keys);
      if (partial && __syncthreads_or(k[i % 2].template own_part_has_nonfinite<kThreads>()))
        visible_sums_by_rows<S>(d_q, d, k[i % 2], D);
      else
        Product<S>::sums_by_rows(d_q, d, k[i % 2], D);
      __syncthreads();
    }
    ptx::cp_async_wait<0>();
    write(split);
  }

 private:
  __device__ __forceinline__ void load(int buffer, int j) const {
    this->load_keys(k[buffer], p.k, D, j);
    if (p.g_out.data) this->load_keys(v[buffer], p.v, V, j);
  }

  template <bool kWhole>
  __device__ __forceinline__ void make_d_scores(A (&x)[kM][kN][4], A (&d)[kM][kN][4], int j,
                                                KeyRange keys) const {
#pragma unroll
    for (int m = 0; m < kM; m++) {
      const RowPair at(rows, row_of(m, 0), row_of(m, 1));
#pragma unroll
      for (int n = 0; n < kN; n++) {
        bool keep[4] = {true, true, true, true};
        if (pair.drops) dropout.keep_queries_by_keys(at.query, at.dropout_head, j + n * 8, keep);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int half = i / 2, key = j + n * 8 + sum_column() + i % 2;
          const bool visible = kWhole || (range[m][half].holds(key) && keys.holds(key));
          pair.differentiate(x[m][n][i], d[m][n][i], visible, keep[i], rows.b, at.head[half], at.query[half],
                             key, numbers[m][half]);
        }
      }
    }
  }

  __device__ __forceinline__ void write(int64_t split) const {
    store_split_rows<S>(
        d_q, D, p.d_q, call.splits > 1 ? static_cast<A*>(call.partial) : nullptr, A(p.scale),
        [&](int m, int half) { return row_of(m, half) < rows.count; },
        [&](int m, int half) { return rows.template of<S>(p.d_q, row_of(m, half)); },
        [&](int m, int half) {
          const int row = row_of(m, half);
          return ((split * p.B + rows.b) * p.H + rows.head(row)) * p.T + rows.query(row);
        });
  }
};

template <class S, class Shape, bool kPlain>
__global__ void __launch_bounds__(Shape::kThreads)
    query_gradient_kernel(const __grid_constant__ BackwardCall call) {
  DYNAMIC_SHARED(shared);
  const Place place(call.p, call.tiles * call.splits);
  // The last rows see the most keys where order is causal: they start first.
  const int64_t tile = call.tiles - 1 - place.part / call.splits;
  QueryGradientBlock<S, Shape, kPlain>(call, place, tile, SharedAllocator{shared})
      .run(place.part % call.splits);
}

}  // namespace pyrnn::attention::cuda
