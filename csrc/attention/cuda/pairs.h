// What a call has for each pair of a query and a key: the weights that it returns, and the gradient of its
// mask.
//
// A block owns one tile of the scores and makes it anew for all batch entries and heads over which its result
// is summed, in order: no atomics, and no memory for what is summed away.
#pragma once
#include "attention/cuda/block.h"
#include "attention/cuda/calls.h"
#include "attention/cuda/pair_gradient.h"

namespace pyrnn::attention::cuda {

enum class PairResult { weights, mask_gradient };

template <class S, class Shape, PairResult kResult>
struct PairBlock {
  using A = typename Accumulate<S>::type;
  static constexpr bool kGradient = kResult == PairResult::mask_gradient;
  static constexpr int kM = 1, kN = Shape::kSteps / 8, kThreads = Shape::kThreads;
  static constexpr int kRows = Shape::kRows, kKeys = Shape::kSteps;
  using QueryTile = Tile<S, kRows, Shape::kFeatures>;
  using KeyTile = Tile<S, kKeys, Shape::kFeatures>;
  static_assert(Shape::kM == 1, "sums of rows are made of one tile a warp");

  static constexpr size_t shared_bytes() {
    return (QueryTile::bytes() + KeyTile::bytes()) * (kGradient ? 2 : 1) +
           (kGradient ? tile_bytes<A>(kRows * (kKeys + 1)) : 0);
  }

  const PairCall& call;
  const Problem& p;
  const PairGradient<S, false> pair;
  const Dropout dropout;
  QueryTile q, g;
  KeyTile k, v;
  A* tile;  // [kRows][kKeys + 1], for sums over rows and columns
  int t0, j0, warp_row;
  A all[kM][kN][4];

  __device__ __forceinline__ PairBlock(const PairCall& of, SharedAllocator shared, int first_query,
                                       int first_key)
      : call(of), p(of.p), pair(of.p), dropout(of.p), t0(first_query), j0(first_key) {
    q.data = shared.take<S>(kRows * Shape::kFeatures);
    k.data = shared.take<S>(kKeys * Shape::kFeatures);
    if (kGradient) {
      g.data = shared.take<S>(kRows * Shape::kFeatures);
      v.data = shared.take<S>(kKeys * Shape::kFeatures);
      tile = shared.take<A>(kRows * (kKeys + 1));
    }
    warp_row = int(threadIdx.x) / 32 * 16;
    clear(all);
  }

  __device__ __forceinline__ int query_of(int half) const { return t0 + warp_row + sum_row() + half * 8; }

  // Adds what the pairs of one head have.
  __device__ __forceinline__ void add(int64_t b, int64_t h) {
    const Visibility visible(p, b);
    const KeyRange keys = visible.of_all(t0, int(min(int64_t(t0) + kRows, p.T)) - 1);
    if (keys.end <= j0 || keys.begin >= j0 + kKeys) return;
    const int64_t kv = h / (p.H / p.K);
    __syncthreads();  // the tiles of the head before are done with
    load_queries(q, p.q, int(p.D), b, h);
    load_keys(k, p.k, int(p.D), b, kv, visible.keys);
    if (kGradient) {
      if (p.g_out.data) load_queries(g, p.g_out, int(p.V), b, h);
      load_keys(v, p.v, int(p.V), b, kv, visible.keys);
    }
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();
    A x[kM][kN][4], d[kM][kN][4];
    clear(x);
    Product<S>::rows_by_rows(x, q, warp_row, k, int(p.D));
    if (kGradient) {
      clear(d);
      if (p.g_out.data) Product<S>::rows_by_rows(d, g, warp_row, v, int(p.V));
    }
    KeyRange own[2];
    QueryNumbers<A> numbers[2];
    int query[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int t = query[half] = query_of(half);
      own[half] = t < p.T ? visible.of(t) : KeyRange{0, 0};
      if (t < p.T) numbers[half] = numbers_of(b, h, t);
    }
    const uint32_t number = uint32_t(b * p.H + h), dropout_head[2] = {number, number};
#pragma unroll
    for (int n = 0; n < kN; n++) {
      bool keep[4] = {true, true, true, true};
      if (pair.drops) dropout.keep_queries_by_keys(query, dropout_head, j0 + n * 8, keep);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int t = query[i / 2], j = j0 + n * 8 + sum_column() + i % 2;
        const bool sees = own[i / 2].holds(j);
        if (kGradient) {
          pair.template differentiate<true>(x[0][n][i], d[0][n][i], sees, keep[i], b, h, t, j,
                                            numbers[i / 2]);
          all[0][n][i] += d[0][n][i];
        } else if (sees) {
          const A w = pair.weight(x[0][n][i], b, h, t, j, numbers[i / 2], nullptr);
          all[0][n][i] += pair.drops ? w * (keep[i] ? pair.kept : A(0)) : w;
        }
      }
    }
  }

 private:
  __device__ __forceinline__ void load_queries(const QueryTile& to, const Heads& from, int features,
                                               int64_t b, int64_t h) const {
    const S* first = static_cast<const S*>(from.data) + b * from.batch + h * from.head + t0 * from.row;
    to.template load_rows<kThreads>(features, first, from.row, [&](int row) { return t0 + row < p.T; });
  }
  __device__ __forceinline__ void load_keys(const KeyTile& to, const Heads& from, int features, int64_t b,
                                            int64_t kv, int count) const {
    const S* first = static_cast<const S*>(from.data) + b * from.batch + kv * from.head + j0 * from.row;
    to.template load_rows<kThreads>(features, first, from.row, [&](int row) { return j0 + row < count; });
  }

  __device__ __forceinline__ QueryNumbers<A> numbers_of(int64_t b, int64_t h, int t) const {
    const int64_t group = p.H / p.K;
    if (kGradient)
      return static_cast<const QueryNumbers<A>*>(
          call.queries)[(b * p.K + h / group) * p.T * group + t * group + h % group];
    const A* statistics = static_cast<const A*>(p.statistics) + (b * p.H + h) * 2 * p.T + t;
    return numbers_of_statistics(statistics[0], statistics[p.T], A(0), t);
  }
};

template <class S, class Shape>
__global__ void __launch_bounds__(Shape::kThreads) weights_kernel(const __grid_constant__ PairCall call) {
  using Block = PairBlock<S, Shape, PairResult::weights>;
  DYNAMIC_SHARED(shared);
  const Problem& p = call.p;
  const bool mean = p.weights_kind == kMeanWeights;
  const int64_t pairs = call.query_tiles * call.key_tiles, which = blockIdx.x / pairs,
                tile = blockIdx.x % pairs;
  Block block(call, SharedAllocator{shared}, int(tile / call.key_tiles) * Shape::kRows,
              int(tile % call.key_tiles) * Shape::kSteps);
  const int64_t b = mean ? which : which / p.H, h = mean ? 0 : which % p.H;
  for (int64_t i = 0; i < (mean ? p.H : 1); i++) block.add(b, h + i);
  const auto scale = typename Block::A(mean ? 1 / typename Block::A(p.H) : 1);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int t = block.query_of(i / 2);
    if (t >= p.T) continue;
    S* row = static_cast<S*>(p.weights.data) + b * p.weights.batch + h * p.weights.head + t * p.weights.query;
#pragma unroll
    for (int n = 0; n < Block::kN; n++) {
      const int j = block.j0 + n * 8 + sum_column() + i % 2;
      if (j < p.S) row[j * p.weights.key] = narrow<S>(block.all[0][n][i] * scale);
    }
  }
}

// Sums of the gradient of the mask, of the tile and of `part` of the batch entries and heads over which it is
// broadcast. A dimension of queries or keys over which it is broadcast has one place for each tile.
template <class S, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    mask_gradient_kernel(const __grid_constant__ PairCall call) {
  using Block = PairBlock<S, Shape, PairResult::mask_gradient>;
  using A = typename Block::A;
  DYNAMIC_SHARED(shared);
  const Problem& p = call.p;
  const MaskSums& sums = call.sums;
  int64_t n = blockIdx.x;
  const int64_t key_tile = n % call.key_tiles;
  n /= call.key_tiles;
  const int64_t query_tile = n % call.query_tiles;
  n /= call.query_tiles;
  const int64_t place = n % (sums.batch * sums.heads), part = n / (sums.batch * sums.heads);
  Block block(call, SharedAllocator{shared}, int(query_tile) * Shape::kRows, int(key_tile) * Shape::kSteps);
  // The batch entries and heads of this place, of which this block has each `parts`-th.
  const int64_t inner_heads = p.H / sums.heads, inner = p.B / sums.batch * inner_heads;
  for (int64_t i = part; i < inner; i += sums.parts)
    block.add(place / sums.heads + i / inner_heads, place % sums.heads + i % inner_heads);

  __syncthreads();
#pragma unroll
  for (int m = 0; m < Block::kN; m++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      block.tile[(block.warp_row + sum_row() + i / 2 * 8) * (Shape::kSteps + 1) + m * 8 + sum_column() +
                 i % 2] = block.all[0][m][i];
  __syncthreads();
  const bool over_queries = sums.queries != p.T, over_keys = sums.keys != p.S;
  const int rows = over_queries ? 1 : Shape::kRows, columns = over_keys ? 1 : Shape::kSteps;
  for (int e = int(threadIdx.x); e < rows * columns; e += Shape::kThreads) {
    const int row = e / columns, column = e % columns;
    const int64_t t = over_queries ? query_tile : block.t0 + row,
                  j = over_keys ? key_tile : block.j0 + column;
    if (t >= sums.queries || j >= sums.keys) continue;
    A sum = 0;
    for (int r = row; r < (over_queries ? Shape::kRows : row + 1); r++)
      for (int c = column; c < (over_keys ? Shape::kSteps : column + 1); c++)
        sum += block.tile[r * (Shape::kSteps + 1) + c];
    const int64_t at = ((part * sums.batch * sums.heads + place) * sums.queries + t) * sums.keys + j;
    if (sums.is_final)
      static_cast<S*>(sums.data)[at] = narrow<S>(sum);
    else
      static_cast<A*>(sums.data)[at] = sum;
  }
}

constexpr int kSumThreads = 256;

// What is left to be summed of a mask's gradient: over parts, and over tiles of dimensions that it lacks.
template <class S>
__global__ void __launch_bounds__(kSumThreads) sum_mask_kernel(const __grid_constant__ PairCall call) {
  using A = typename Accumulate<S>::type;
  const Problem& p = call.p;
  const MaskSums& sums = call.sums;
  const int64_t T = sums.queries == p.T ? p.T : 1, keys = sums.keys == p.S ? p.S : 1;
  const int64_t n = int64_t(blockIdx.x) * kSumThreads + threadIdx.x;
  if (n >= sums.batch * sums.heads * T * keys) return;
  const int64_t j = n % keys, t = n / keys % T, place = n / keys / T;
  A sum = 0;
  for (int64_t part = 0; part < sums.parts; part++)
    for (int64_t i = t; i < (T == 1 ? sums.queries : t + 1); i++)
      for (int64_t c = j; c < (keys == 1 ? sums.keys : j + 1); c++)
        sum += static_cast<const A*>(
            sums.data)[((part * sums.batch * sums.heads + place) * sums.queries + i) * sums.keys + c];
  static_cast<S*>(p.d_mask)[n] = narrow<S>(sum);
}

}  // namespace pyrnn::attention::cuda
