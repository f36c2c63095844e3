// What the backward pass must know of each query before it goes through pairs: QueryNumbers.
#pragma once
#include "attention/cuda/calls.h"
#include "attention/cuda/pair_gradient.h"
#include "attention/cuda/pieces.h"
#include "attention/cuda/query_block.h"

namespace pyrnn::attention::cuda {

constexpr int kDeltaThreads = 128;

// The sum of weight * g_out.v over keys is g_out.out: kDeltaLanes threads a row, 16 bytes at a time.
template <class S>
__global__ void __launch_bounds__(kDeltaThreads) delta_kernel(const __grid_constant__ BackwardCall call) {
  using A = typename Accumulate<S>::type;
  constexpr int kRows = kDeltaThreads / kDeltaLanes, kNumbers = Piece<S>::kNumbers;
  const Problem& p = call.p;
  const int64_t of_pair = p.T * (p.H / p.K);
  const RowPlace place(blockIdx.x, kRows, threadIdx.x / kDeltaLanes, of_pair);
  const unsigned pair = unsigned(place.row), heads = unsigned(p.K);
  const bool exists = place.row < p.B * p.K;  // others stay, for the sum of a warp's rows
  const QueryRows rows(p, pair / heads, pair % heads);
  const int row = place.at, lane = threadIdx.x % kDeltaLanes, V = int(p.V);
  const A* statistics = static_cast<const A*>(p.statistics) + rows.statistics(row);
  const A sum = exists ? statistics[p.T] : A(0);
  A delta = 0;
  if (sum != 0 && p.g_out.data) {
    const auto* g = reinterpret_cast<const Piece<S>*>(rows.template of<const S>(p.g_out, row));
    const auto* out = reinterpret_cast<const Piece<S>*>(rows.template of<const S>(p.out, row));
    for (int i = lane; i * kNumbers < V; i += kDeltaLanes) {
      const Piece<S> left = g[i], right = out[i];
#pragma unroll
      for (int j = 0; j < kNumbers; j++)
        if (i * kNumbers + j < V) delta = fma(A(widen(left.number[j])), A(widen(right.number[j])), delta);
    }
  }
#pragma unroll
  for (int other = kDeltaLanes / 2; other > 0; other /= 2) delta += __shfl_xor_sync(~0u, delta, other);
  if (exists && lane == 0)
    static_cast<QueryNumbers<A>*>(call.queries)[place.row * of_pair + row] =
        numbers_of_statistics(statistics[0], sum, delta, rows.query(row));
}

// Adds what the gradients of returned weights g_w contribute: the sum of weight * g_w over keys.
template <class S, class Shape>
struct DeltaOfWeightsBlock : QueryBlock<S, Shape, false> {
  using Base = QueryBlock<S, Shape, false>;
  using Base::D, Base::dropout, Base::p, Base::range, Base::row_of, Base::rows, Base::warp_row;
  using Base::kKeys, Base::kM, Base::kN;
  using typename Base::A, typename Base::KeyTile, typename Base::QueryTile;

  static constexpr size_t shared_bytes() { return QueryTile::bytes() + 2 * KeyTile::bytes(); }

  const PairGradient<S, false> pair;
  QueryNumbers<A>* numbers;
  QueryTile q;
  TwoTiles<KeyTile> k;
  A sum[kM][2];

  __device__ DeltaOfWeightsBlock(const BackwardCall& call, const Place& place, int64_t tile,
                                 SharedAllocator shared)
      : Base(call.p, place, tile), pair(call.p) {
    numbers = static_cast<QueryNumbers<A>*>(call.queries) + (place.b * p.K + place.kv) * rows.count;
    q.take(shared), k.take(shared);
#pragma unroll
    for (int m = 0; m < kM; m++) sum[m][0] = sum[m][1] = 0;
  }

  __device__ void run() {
    const KeyRange keys = this->visible.of_all(this->first, this->last);
    const int j0 = keys.begin / kKeys * kKeys, tiles = this->tiles_of(keys);
    this->load_queries(q, p.q, D);
    if (tiles > 0) this->load_keys(k[0], p.k, D, j0);
    ptx::cp_async_commit();
    for (int i = 0; i < tiles; i++) {
      const int j = j0 + i * kKeys;
      if (i + 1 < tiles) this->load_keys(k[(i + 1) % 2], p.k, D, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<1>();
      __syncthreads();
      A x[kM][kN][4];
      clear(x);
      Product<S>::rows_by_rows(x, q, warp_row, k[i % 2], D);
      add(x, j);
      __syncthreads();
    }
    ptx::cp_async_wait<0>();
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        A& all = sum[m][half];
        all += __shfl_xor_sync(~0u, all, 1);
        all += __shfl_xor_sync(~0u, all, 2);
        const int row = row_of(m, half);
        if (row < rows.count && sum_column() == 0) numbers[row].delta += all;
      }
  }

 private:
  __device__ __forceinline__ void add(const A (&x)[kM][kN][4], int j) {
#pragma unroll
    for (int m = 0; m < kM; m++) {
      const RowPair at(rows, row_of(m, 0), row_of(m, 1));
      QueryNumbers<A> of[2];
#pragma unroll
      for (int half = 0; half < 2; half++)
        if (row_of(m, half) < rows.count) of[half] = numbers[row_of(m, half)];
#pragma unroll
      for (int n = 0; n < kN; n++) {
        bool keep[4] = {true, true, true, true};
        if (pair.drops) dropout.keep_queries_by_keys(at.query, at.dropout_head, j + n * 8, keep);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int half = i / 2, key = j + n * 8 + sum_column() + i % 2;
          if (!keep[i] || !range[m][half].holds(key)) continue;
          const int t = at.query[half];
          const int64_t h = at.head[half];
          A unused;
          const A w = pair.weight(x[m][n][i], rows.b, h, t, key, of[half], &unused);
          if (w != 0) sum[m][half] += w * (pair.drops ? pair.kept : A(1)) * pair.g_weight(rows.b, h, t, key);
        }
      }
    }
  }
};

template <class S, class Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    delta_of_weights_kernel(const __grid_constant__ BackwardCall call) {
  DYNAMIC_SHARED(shared);
  const Place place(call.p, call.tiles);
  DeltaOfWeightsBlock<S, Shape>(call, place, call.tiles - 1 - place.part, SharedAllocator{shared}).run();
}

}  // namespace pyrnn::attention::cuda
