// Forward pass: online softmax over tiles of keys for the rows of queries that a block owns (Dao, 2023).
//
// Keys and values stream through two buffers each: while a tile is multiplied the next one arrives. With
// `splits` several blocks share the keys of the same rows, and combine.h puts their parts together.
#pragma once
#include "attention/cuda/block.h"
#include "attention/cuda/calls.h"

namespace pyrnn::attention::cuda {

template <class S, class Shape, bool kPlain>
struct ForwardBlock {
  using A = typename Accumulate<S>::type;
  static constexpr int kM = Shape::kM, kN = Shape::kSteps / 8, kV = Shape::kFeatures / 8;
  static constexpr int kKeys = Shape::kSteps, kThreads = Shape::kThreads;
  using QueryTile = Tile<S, Shape::kRows, Shape::kFeatures>;
  using KeyTile = Tile<S, kKeys, Shape::kFeatures>;
  static_assert(size_t(16 * Shape::kWarps * kKeys) <= size_t(kKeys) * Shape::kFeatures, "room for weights");

  static constexpr size_t shared_bytes() { return QueryTile::bytes() + 4 * KeyTile::bytes(); }

  const ForwardCall& call;
  const Problem& p;
  const QueryRows rows;
  const Visibility visible;
  const ScoreTransform<S> transform;
  const Dropout dropout;
  QueryTile q;
  KeyTile k[2], v[2];
  int first_row, warp_row, D, V;  // of the block; of the warp within it; features, padded to whole chunks
  A shift[kM][2], sum[kM][2];
  A out[kM][kV][4];
  KeyRange range[kM][2];

  __device__ ForwardBlock(const ForwardCall& of, const Place& place, int64_t tile, SharedAllocator shared)
      : call(of), p(of.p), rows(of.p, place.b, place.kv), visible(of.p, place.b), transform(of.p), dropout(of.p) {
    q.data = shared.take<S>(Shape::kRows * Shape::kFeatures);
    for (int i = 0; i < 2; i++) {
      k[i].data = shared.take<S>(kKeys * Shape::kFeatures);
      v[i].data = shared.take<S>(kKeys * Shape::kFeatures);
    }
    first_row = int(tile) * Shape::kRows;
    warp_row = int(threadIdx.x) / 32 * 16 * kM;
    D = int(p.D), V = int(p.V);
    clear(out);
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        shift[m][half] = negative_infinity<A>(), sum[m][half] = 0;
        const int row = row_of(m, half);
        range[m][half] = row < rows.count ? visible.of(rows.query(row)) : KeyRange{0, 0};
      }
  }

  __device__ __forceinline__ int row_of(int m, int half) const {
    return first_row + warp_row + m * 16 + sum_row() + half * 8;
  }

  __device__ void run(int64_t split) {
    const int first = rows.query(first_row),
              last = rows.query(min(first_row + Shape::kRows, rows.count) - 1);
    KeyRange keys = visible.of_all(first, last);
    if (call.splits > 1) {
      keys.begin = max(keys.begin, int(split * call.keys_per_split));
      keys.end = min(keys.end, int((split + 1) * call.keys_per_split));
    }
    const int j0 = keys.begin / kKeys * kKeys;
    const int tiles = keys.begin < keys.end ? (keys.end - j0 + kKeys - 1) / kKeys : 0;
    q.template load<kThreads>(D, p.q.data, [&](int row) -> const S* {
      return first_row + row < rows.count ? rows.template of<const S>(p.q, first_row + row) : nullptr;
    });
    if (tiles > 0) load_keys(k[0], p.k, D, j0);
    ptx::cp_async_commit();
    if (tiles > 0) load_keys(v[0], p.v, V, j0);
    ptx::cp_async_commit();
    for (int i = 0; i < tiles; i++) {
      const int j = j0 + i * kKeys;
      const bool partial = (!kPlain && p.mask_kind != kNoMask) || j < keys.begin || j + kKeys > keys.end ||
                           !visible.sees_whole(first, last, j, kKeys);
      if (i + 1 < tiles) load_keys(k[(i + 1) % 2], p.k, D, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<2>();  // all but values of this tile and keys of the next have landed
      __syncthreads();
      A x[kM][kN][4];
      clear(x);
      Product<S>::rows_by_rows(x, q, warp_row, k[i % 2], D);
      make_scores(x, j, partial, keys);
      softmax(x);
      if (!kPlain && dropout.active) drop(x, j);
      if (i + 1 < tiles) load_keys(v[(i + 1) % 2], p.v, V, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<2>();
      const bool nonfinite = partial && v[i % 2].template own_part_has_nonfinite<kThreads>();
      if (__syncthreads_or(nonfinite)) {
        // The keys of this tile are done with: their place serves the weights.
        S* room = k[i % 2].data + int(threadIdx.x) / 32 * 16 * kKeys;
        visible_sums_by_rows<S>(out, x, v[i % 2], V, room);
        __syncthreads();
      } else {
        Product<S>::sums_by_rows(out, x, v[i % 2], V);
      }
    }
    ptx::cp_async_wait<0>();
    write(split);
  }

 private:
  __device__ __forceinline__ void load_keys(const KeyTile& tile, const Heads& from, int features, int j) const {
    const S* head = static_cast<const S*>(from.data) + rows.b * from.batch + rows.kv * from.head;
    const uint8_t* padding = kPlain || !p.padding ? nullptr : p.padding + rows.b * p.S;
    // Keys that nobody sees are zeros, whatever stands there.
    tile.template load<kThreads>(features, from.data, [&](int row) -> const S* {
      const int key = j + row;
      return key < visible.keys && !(padding && padding[key]) ? head + key * from.row : nullptr;
    });
  }

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
        const int row = row_of(m, half);
        const int begin = max(range[m][half].begin, keys.begin), end = min(range[m][half].end, keys.end);
        const int t = kPlain ? 0 : rows.query(row);
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
            s = s == negative_infinity<A>() ? A(-0.0) : weight_of<S>(s - offset);
            added += s;
          }
        sum[m][half] = sum[m][half] * factor + added;  // of this lane's keys alone
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
      const int low = row_of(m, 0), high = row_of(m, 1);
      const int query[2] = {rows.query(low), rows.query(high)};
      const uint32_t first_head = uint32_t(rows.b * p.H);
      const uint32_t head[2] = {first_head + uint32_t(rows.head(low)), first_head + uint32_t(rows.head(high))};
#pragma unroll
      for (int n = 0; n < kN; n++) {
        bool keep[4];
        dropout.keep_queries_by_keys(query, head, j + n * 8, keep);
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
            return row < rows.count ? static_cast<A*>(call.partial_out) + partial_row(split, row) * p.V : nullptr;
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
