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
  KeyTile k, v;                   // the first of two buffers each
  int first_row, warp_row, D, V;  // of the block; of the warp within it; features
  int first, last;                // queries of the block
  KeyRange keys;                  // all that they see, of this split
  A shift[kM][2], sum[kM][2];
  A out[kM][kV][4];

  __device__ __forceinline__ ForwardBlock(const ForwardCall& of, int64_t b, int64_t kv, int tile,
                                          SharedAllocator shared)
      : call(of), p(of.p), rows(of.p, b, kv), visible(of.p, b), transform(of.p), dropout(of.p) {
    q.data = shared.take<S>(Shape::kRows * Shape::kFeatures);
    k.data = shared.take<S>(kKeys * Shape::kFeatures);
    shared.take<S>(kKeys * Shape::kFeatures);
    v.data = shared.take<S>(kKeys * Shape::kFeatures);
    shared.take<S>(kKeys * Shape::kFeatures);
    first_row = tile * Shape::kRows;
    warp_row = int(threadIdx.x) / 32 * 16 * kM;
    D = int(p.D), V = int(p.V);
    clear(out);
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) shift[m][half] = negative_infinity<A>(), sum[m][half] = 0;
  }

  __device__ __forceinline__ int row_of(int m, int half) const {
    return first_row + warp_row + m * 16 + sum_row() + half * 8;
  }

  __device__ __forceinline__ void run(int64_t split) {
    const int j0 = find_keys(split), tiles = tiles_from(j0);
    q.template load<kThreads>(D, p.q.data, [&](int row) -> const S* {
      return first_row + row < rows.count ? rows.template of<const S>(p.q, first_row + row) : nullptr;
    });
    if (tiles > 0) load_keys(k, p.k, D, j0);
    ptx::cp_async_commit();
    if (tiles > 0) load_keys(v, p.v, V, j0);
    ptx::cp_async_commit();
    bool nonfinite = false;  // whether values that some query does not see are no numbers
    for (int i = 0; i < tiles; i++) {
      const int j = j0 + i * kKeys;
      const bool partial = is_partial(j);
      if (i + 1 < tiles) load_keys(buffer(k, i + 1), p.k, D, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<2>();  // all but values of this tile and keys of the next have landed
      __syncthreads();
      A x[kM][kN][4];
      clear(x);
      Product<S>::rows_by_rows(x, q, warp_row, buffer(k, i), D);
      make_scores(x, 0, j, partial);
      softmax(x);
      if (!kPlain && dropout.active) drop(x, 0, j);
      if (i + 1 < tiles) load_keys(buffer(v, i + 1), p.v, V, j + kKeys);
      ptx::cp_async_commit();
      ptx::cp_async_wait<2>();
      if (partial) nonfinite |= buffer(v, i).template own_part_has_nonfinite<kThreads>();
      __syncthreads();
      Product<S>::sums_by_rows(out, x, buffer(v, i), V);
    }
    ptx::cp_async_wait<0>();
    finish_sums();
    if (__syncthreads_or(nonfinite)) {
      hand_over<true>();
      __syncthreads();
      run_again(call, rows.b, rows.kv, first_row / Shape::kRows, split, q.data);
    } else {
      write(split);
    }
  }

 private:
  // Finds `keys`; returns where the first tile of them starts.
  __device__ __forceinline__ int find_keys(int64_t split) {
    first = rows.query(first_row), last = rows.query(min(first_row + Shape::kRows, rows.count) - 1);
    keys = visible.of_all(first, last);
    if (call.splits > 1) {
      keys.begin = max(keys.begin, int(split * call.keys_per_split));
      keys.end = min(keys.end, int((split + 1) * call.keys_per_split));
    }
    return keys.begin / kKeys * kKeys;
  }
  __device__ __forceinline__ int tiles_from(int j0) const {
    return keys.begin < keys.end ? (keys.end - j0 + kKeys - 1) / kKeys : 0;
  }

  static __device__ __forceinline__ KeyTile buffer(const KeyTile& one, int i) {
    return {one.data + i % 2 * int(KeyTile::bytes() / sizeof(S))};
  }

  // Whether some query does not see some key of the tile from j.
  __device__ __forceinline__ bool is_partial(int j) const {
    return (!kPlain && p.mask_kind != kNoMask) || j < keys.begin || j + kKeys > keys.end ||
           !visible.sees_whole(first, last, j, kKeys);
  }

  __device__ __forceinline__ void load_keys(const KeyTile& tile, const Heads& from, int features,
                                            int j) const {
    const S* head = static_cast<const S*>(from.data) + rows.b * from.batch + rows.kv * from.head;
    const uint8_t* padding = kPlain || !p.padding ? nullptr : p.padding + rows.b * p.S;
    // Keys that nobody sees are zeros, whatever stands there.
    tile.template load_rows<kThreads>(features, head + j * from.row, from.row, [&](int row) {
      return j + row < visible.keys && !(padding && padding[j + row]);
    });
  }

  // Products become scores, of the warp's tiles of rows from `m0` on.
  template <int kTiles>
  __device__ __forceinline__ void make_scores(A (&x)[kTiles][kN][4], int m0, int j, bool partial) const {
    if (kPlain && !partial) {
#pragma unroll
      for (int m = 0; m < kTiles; m++)
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) x[m][n][i] = transform.scaled(x[m][n][i]);
      return;
    }
#pragma unroll
    for (int m = 0; m < kTiles; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = row_of(m0 + m, half), t = rows.query(row);
        const KeyRange own = row < rows.count ? visible.of(t) : KeyRange{0, 0};
        const int begin = max(own.begin, keys.begin), end = min(own.end, keys.end);
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
        const A offset = offset_of(high);
        const A factor = weight_of<S>(shift[m][half] - offset);  // 0 where no key was visible before
        shift[m][half] = high;
        A added = 0;
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int odd = 0; odd < 2; odd++) {
            weigh(x[m][n][half * 2 + odd], offset);
            added += x[m][n][half * 2 + odd];
          }
        sum[m][half] = sum[m][half] * factor + added;  // of this lane's keys alone
        if (!__any_sync(~0u, factor != 1)) continue;   // a new shift is rare after the first tiles
#pragma unroll
        for (int n = 0; n < kV; n++) out[m][n][half * 2] *= factor, out[m][n][half * 2 + 1] *= factor;
      }
  }
  static __device__ __forceinline__ A offset_of(A high) {
    return high == negative_infinity<A>() ? A(0) : high;
  }
  // A masked key has the masked weight.
  static __device__ __forceinline__ void weigh(A& s, A offset) {
    s = s == negative_infinity<A>() ? A(-0.0) : weight_of<S>(s - offset);
  }
  static __device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
  static __device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }

  // What is dropped becomes 0, but a NaN stays, and a masked weight stays one.
  template <int kTiles>
  __device__ __forceinline__ void drop(A (&x)[kTiles][kN][4], int m0, int j) const {
#pragma unroll
    for (int m = 0; m < kTiles; m++) {
      const int low = row_of(m0 + m, 0), high = row_of(m0 + m, 1);
      const int query[2] = {rows.query(low), rows.query(high)};
      const uint32_t first_head = uint32_t(rows.b * p.H);
      const uint32_t head[2] = {first_head + uint32_t(rows.head(low)),
                                first_head + uint32_t(rows.head(high))};
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

  // The output once more, from the shifts and sums that the softmax has found: values that are no numbers
  // reach only the queries that see them. No sane model comes here; apart, it costs the others no registers.
  static __device__ __noinline__ void run_again(const ForwardCall& call, int64_t b, int64_t kv, int tile,
                                                int64_t split, S* shared) {
    ForwardBlock block(call, b, kv, tile, SharedAllocator{reinterpret_cast<unsigned char*>(shared)});
    block.sum_visible_values(split);
  }

  __device__ __forceinline__ void sum_visible_values(int64_t split) {
    hand_over<false>();
    const int j0 = find_keys(split), tiles = tiles_from(j0);
    S* room = buffer(k, 1).data + int(threadIdx.x) / 32 * 16 * kKeys;
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll 1
      for (int i = 0; i < tiles; i++) {
        const int j = j0 + i * kKeys;
        load_keys(k, p.k, D, j);
        load_keys(v, p.v, V, j);
        ptx::cp_async_commit();
        ptx::cp_async_wait<0>();
        __syncthreads();
        A x[1][kN][4];
        clear(x);
        Product<S>::rows_by_rows(x, q, warp_row + m * 16, k, D);
        make_scores(x, m, j, true);
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int e = 0; e < 4; e++) weigh(x[0][n][e], offset_of(shift[m][e / 2]));
        if (!kPlain && dropout.active) drop(x, m, j);
#pragma unroll
        for (int n = 0; n < kN; n++)
#pragma unroll
          for (int e = 0; e < 4; e++)
            room[(sum_row() + e / 2 * 8) * kKeys + n * 8 + sum_column() + e % 2] = narrow<S>(x[0][n][e]);
        __syncwarp();
        visible_sums_by_rows<S, kKeys>(out[m], room, v, V);
        __syncthreads();
      }
    write(split);
  }

  // Shifts and sums of the rows, through the second buffer of the values: stored, or read.
  template <bool kStore>
  __device__ __forceinline__ void hand_over() {
    A* numbers = reinterpret_cast<A*>(buffer(v, 1).data);
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        A* own = numbers + 2 * (warp_row + m * 16 + sum_row() + half * 8);
        if (!kStore)
          shift[m][half] = own[0], sum[m][half] = own[1];
        else if (sum_column() == 0)
          own[0] = shift[m][half], own[1] = sum[m][half];
      }
  }

  // Until here each lane has summed the weights of its own keys.
  __device__ __forceinline__ void finish_sums() {
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        sum[m][half] += __shfl_xor_sync(~0u, sum[m][half], 1);
        sum[m][half] += __shfl_xor_sync(~0u, sum[m][half], 2);
      }
  }

  __device__ __forceinline__ void write(int64_t split) {
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const A all = sum[m][half];
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
  ForwardBlock<S, Shape, kPlain>(call, place.b, place.kv, int(tile), SharedAllocator{shared}).run(split);
}

}  // namespace pyrnn::attention::cuda
