// Forward pass: online softmax over tiles of keys for the rows of queries that a block owns (Dao, 2023).
//
// Keys and values stream through two buffers each: while a tile is multiplied the next one arrives. With
// `splits` several blocks share the keys of the same rows, and combine.h puts their parts together.
#pragma once
#include "attention/cuda/forward_rows.h"

namespace pyrnn::attention::cuda {

template <class S, class Shape, bool kPlain>
struct ForwardBlock : ForwardRows<S, Shape, kPlain> {
  using Rows = ForwardRows<S, Shape, kPlain>;
  using Rows::D, Rows::V, Rows::p, Rows::warp_row, Rows::out;
  using Rows::kKeys, Rows::kM, Rows::kN, Rows::kThreads;
  using typename Rows::A, typename Rows::KeyTile, typename Rows::QueryTile;

  static constexpr size_t shared_bytes() { return QueryTile::bytes() + 4 * KeyTile::bytes(); }

  QueryTile q;
  TwoTiles<KeyTile> k, v;

  __device__ __forceinline__ ForwardBlock(const ForwardCall& of, const Place& place, int64_t tile,
                                          SharedAllocator shared)
      : Rows(of, place, tile) {
    q.take(shared), k.take(shared), v.take(shared);
  }

  __device__ __forceinline__ void run(int64_t split) {
    const KeyRange keys = this->keys_of_split(split, this->call.splits);
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
      A factor[kM][2];
      this->weigh(x, j, partial, keys, factor);
      this->rescale(factor);
      if (i + 1 < tiles) this->load_keys(v[(i + 1) % 2], p.v, V, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<2>();
      const bool nonfinite = partial && v[i % 2].template own_part_has_nonfinite<kThreads>(V);
      if (__syncthreads_or(nonfinite))
        visible_sums_by_rows<S>(out, x, v[i % 2], V);
      else
        Product<S>::sums_by_rows(out, x, v[i % 2], V);
    }
    ptx::cp_async_wait<0>();
    this->write(split);
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
