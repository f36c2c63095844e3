// d_k and d_v: for rows of keys of one head through the tiles of the queries, of all heads that share it,
// that see them: d_v = weight g_out, d_k = scale * d_score q, with weights and d_scores transposed.
//
// Queries and gradients stream through two buffers each: while a tile is worked on the next one arrives. With
// `splits` several blocks share the queries of the same keys, and split_sum.h adds their parts.
#pragma once
#include "attention/cuda/block.h"
#include "attention/cuda/calls.h"
#include "attention/cuda/pair_gradient.h"

namespace pyrnn::attention::cuda {

// What a kernel computes: both where their sums fit into registers together.
constexpr int kOfKeys = 1, kOfValues = 2;

template <class S, class Shape, bool kPlain, int kGradients>
struct KeyGradientBlock {
  using A = typename Accumulate<S>::type;
  static constexpr int kM = Shape::kM, kSteps = Shape::kSteps, kN = kSteps / 8, kThreads = Shape::kThreads;
  static constexpr int kF = Shape::kFeatures / 8;
  static constexpr bool kMakesKeys = (kGradients & kOfKeys) != 0,
                        kMakesValues = (kGradients & kOfValues) != 0;
  using KeyTile = Tile<S, Shape::kRows, Shape::kFeatures>;
  using QueryTile = Tile<S, kSteps, Shape::kFeatures>;
  using Numbers = QueryNumbers<A>;

  static constexpr size_t shared_bytes() {
    return (kMakesKeys ? 2 : 1) * KeyTile::bytes() + 4 * QueryTile::bytes() + tile_bytes<Numbers>(2 * kSteps);
  }

  const BackwardCall& call;
  const Problem& p;
  const QueryRows rows;
  const Visibility visible;
  const Dropout dropout;
  const PairGradient<S, kPlain> pair;
  const bool makes_keys, makes_values, has_gradient;
  KeyTile k, v;
  TwoTiles<QueryTile> q, g;
  Numbers* first_numbers;
  int first_key, warp_key, D, V;
  A d_k[kMakesKeys ? kM : 1][kMakesKeys ? kF : 1][4], d_v[kMakesValues ? kM : 1][kMakesValues ? kF : 1][4];

  __device__ KeyGradientBlock(const BackwardCall& of, const Place& place, SharedAllocator shared)
      : call(of),
        p(of.p),
        rows(of.p, place.b, place.kv),
        visible(of.p, place.b),
        dropout(of.p),
        pair(of.p),
        makes_keys(kMakesKeys && p.d_k.data != nullptr),
        makes_values(kMakesValues && p.d_v.data != nullptr),
        has_gradient(p.g_out.data != nullptr) {
    k.take(shared);
    if (kMakesKeys) v.take(shared);
    q.take(shared), g.take(shared);
    first_numbers = shared.take<Numbers>(2 * kSteps);
    first_key = int(place.part / call.splits) * Shape::kRows;
    warp_key = int(threadIdx.x) / 32 * 16 * kM;
    D = int(p.D), V = int(p.V);
    clear(d_k), clear(d_v);
  }

  __device__ void run(int64_t split) {
    const KeyRange queries = visible.queries_of(first_key, Shape::kRows, p.T);
    const KeyRange mine =
        split_of({queries.begin * rows.group, queries.end * rows.group}, split, call.splits, call.per_split);
    const int tiles = mine.begin < mine.end ? (mine.end - mine.begin + kSteps - 1) / kSteps : 0;
    if (tiles > 0) {
      load_key_rows<kThreads, kPlain>(k, p, p.k, D, rows.b, rows.kv, first_key, visible.keys);
      if (makes_keys && has_gradient)
        load_key_rows<kThreads, kPlain>(v, p, p.v, V, rows.b, rows.kv, first_key, visible.keys);
      load(0, mine.begin, mine.end);
    }
    ptx::cp_async_commit();
    for (int i = 0; i < tiles; i++) {
      const int row = mine.begin + i * kSteps, buffer = i % 2;
      const bool partial = is_partial(row, mine.end);
      if (i + 1 < tiles) load(1 - buffer, row + kSteps, mine.end);
      ptx::cp_async_commit();
      ptx::cp_async_wait<1>();
      const bool slow =
          __syncthreads_or(partial ? own_part_has_nonfinite(buffer) : own_row_is_spoilt(buffer));
      A x[kM][kN][4], d[kM][kN][4];
      clear(x), clear(d);
      Product<S>::rows_by_rows(x, k, warp_key, q[buffer], D);
      if (makes_keys && has_gradient) Product<S>::rows_by_rows(d, v, warp_key, g[buffer], V);
      if (kPlain && !partial)
        make_d_scores<true>(x, d, row, mine.end, numbers(buffer));
      else
        make_d_scores<false>(x, d, row, mine.end, numbers(buffer));
      if constexpr (kMakesValues)
        if (makes_values && has_gradient) add(d_v, x, g[buffer], V, slow);
      if constexpr (kMakesKeys)
        if (makes_keys) add(d_k, d, q[buffer], D, slow);
      __syncthreads();
    }
    ptx::cp_async_wait<0>();
    if constexpr (kMakesKeys)
      if (makes_keys) write(d_k, D, p.d_k, call.partial, A(p.scale), split);
    if constexpr (kMakesValues)
      if (makes_values) write(d_v, V, p.d_v, call.partial_d_v, pair.drops ? pair.kept : A(1), split);
  }

 private:
  __device__ __forceinline__ Numbers* numbers(int buffer) const { return first_numbers + buffer * kSteps; }

  __device__ __forceinline__ void load(int buffer, int first, int end) const {
    auto row_of = [&](const Heads& from) {
      return [&, first, end](int row) -> const S* {
        return first + row < end ? rows.template of<const S>(from, first + row) : nullptr;
      };
    };
    q[buffer].template load<kThreads>(D, p.q.data, row_of(p.q));
    if (has_gradient) g[buffer].template load<kThreads>(V, p.g_out.data, row_of(p.g_out));
    constexpr int kPieces = int(sizeof(Numbers)) / kChunkBytes;  // of a row
    const auto* from =
        static_cast<const Numbers*>(call.queries) + (rows.b * p.K + rows.kv) * rows.count + first;
    for (int n = int(threadIdx.x); n < kSteps * kPieces; n += kThreads) {
      const bool valid = first + n / kPieces < end;
      ptx::cp_async16(reinterpret_cast<char*>(numbers(buffer)) + n * kChunkBytes,
                      valid ? reinterpret_cast<const char*>(from) + n * kChunkBytes : call.queries, valid);
    }
  }

  __device__ __forceinline__ bool is_partial(int row, int end) const {
    return (!kPlain && (p.mask_kind != kNoMask || p.padding)) || row + kSteps > end ||
           !visible.sees_whole(rows.query(row), rows.query(row + kSteps - 1), first_key, Shape::kRows);
  }

  // Rows of q and g_out may hold what must not reach keys that do not see them.
  __device__ __forceinline__ bool own_part_has_nonfinite(int buffer) const {
    return q[buffer].template own_part_has_nonfinite<kThreads>() ||
           (has_gradient && g[buffer].template own_part_has_nonfinite<kThreads>());
  }
  // A query has NaN among its scores, or nothing but -inf, where neither order nor masks hide a key.
  __device__ __forceinline__ bool own_row_is_spoilt(int buffer) const {
    constexpr int kPieces = int(sizeof(Numbers)) / kChunkBytes;
    bool spoilt = false;
    for (int n = int(threadIdx.x); n < kSteps * kPieces; n += kThreads)
      spoilt |= n % kPieces == 0 && !(numbers(buffer)[n / kPieces].inverse > 0);
    return spoilt;
  }

  template <bool kWhole>
  __device__ __forceinline__ void make_d_scores(A (&x)[kM][kN][4], A (&d)[kM][kN][4], int row, int end,
                                                const Numbers* of) const {
#pragma unroll
    for (int n = 0; n < kN; n++) {
      const int column = n * 8 + sum_column();
      const Numbers query[2] = {of[column], of[column + 1]};
      KeyRange range[2];
      int64_t head[2];
#pragma unroll
      for (int odd = 0; odd < 2; odd++) {
        const int t = query[odd].query, r = row + column + odd;
        range[odd] = !kWhole && r < end ? visible.of(t) : KeyRange{0, 0};
        head[odd] = rows.kv * rows.group + r - int64_t(t) * rows.group;
      }
#pragma unroll
      for (int m = 0; m < kM; m++) {
        const int tile_key = first_key + warp_key + m * 16;
        bool keep[4] = {true, true, true, true};
        if (pair.drops) {
          const int t[2] = {query[0].query, query[1].query};
          const uint32_t first_head = uint32_t(rows.b * p.H);
          const uint32_t dropout_head[2] = {first_head + uint32_t(head[0]), first_head + uint32_t(head[1])};
          dropout.keep_keys_by_queries(t, dropout_head, tile_key, keep);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int key = tile_key + sum_row() + i / 2 * 8, odd = i % 2;
          pair.differentiate(x[m][n][i], d[m][n][i], kWhole || range[odd].holds(key), keep[i], rows.b,
                             head[odd], query[odd].query, key, query[odd]);
        }
      }
    }
  }

  __device__ __forceinline__ void add(A (&sums)[kM][kF][4], const A (&pairs)[kM][kN][4],
                                      const QueryTile& tile, int features, bool slow) const {
    if (slow)
      visible_sums_by_rows<S>(sums, pairs, tile, features);
    else
      Product<S>::sums_by_rows(sums, pairs, tile, features);
  }

  __device__ __forceinline__ void write(const A (&sums)[kM][kF][4], int features, const Heads& to,
                                        void* partial, A scale, int64_t split) const {
    auto key_of = [&](int m, int half) { return first_key + warp_key + m * 16 + sum_row() + half * 8; };
    store_split_rows<S>(
        sums, features, to, call.splits > 1 ? static_cast<A*>(partial) : nullptr, scale,
        [&](int m, int half) { return key_of(m, half) < p.S; },
        [&](int m, int half) {
          return static_cast<S*>(to.data) + rows.b * to.batch + rows.kv * to.head + key_of(m, half) * to.row;
        },
        [&](int m, int half) { return ((split * p.B + rows.b) * p.K + rows.kv) * p.S + key_of(m, half); });
  }
};

// The first keys are seen by the most queries where order is causal: they start first.
template <class S, class Shape, bool kPlain, int kGradients>
__global__ void __launch_bounds__(Shape::kThreads)
    key_gradient_kernel(const __grid_constant__ BackwardCall call) {
  DYNAMIC_SHARED(shared);
  const Place place(call.p, call.tiles * call.splits);
  KeyGradientBlock<S, Shape, kPlain, kGradients>(call, place, SharedAllocator{shared})
      .run(place.part % call.splits);
}

}  // namespace pyrnn::attention::cuda
