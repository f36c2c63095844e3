// What a block of threads works on: its shape, and the rows of queries that it owns.
#pragma once
#include "attention/cuda/calls.h"
#include "attention/cuda/dropout.h"
#include "attention/cuda/scores.h"

namespace pyrnn::attention::cuda {

// Blocks own some rows and go through the other side of the scores, `kSteps` rows at a time.
template <int kFeaturesOf, int kTilesOf, int kWarpsOf, int kStepsOf>
struct Shape {
  static constexpr int kFeatures = kFeaturesOf;  // of a tile: at least D and V
  static constexpr int kM = kTilesOf;            // tiles of 16 rows that a warp owns
  static constexpr int kWarps = kWarpsOf, kThreads = 32 * kWarps, kRows = 16 * kM * kWarps;
  static constexpr int kSteps = kStepsOf;
};

// A call's place in the grid: which batch entry and head of the keys, and which of the `parts` of their work.
struct Place {
  int64_t b, kv, part;

  __device__ Place(const Problem& p, int64_t parts)
      : Place(p, blockIdx.x / unsigned(parts), blockIdx.x % unsigned(parts)) {}
  // `pair` counts the heads of the keys through the batch.
  __device__ Place(const Problem& p, unsigned pair, unsigned part_of_pair)
      : b(pair / unsigned(p.K)), kv(pair % unsigned(p.K)), part(part_of_pair) {}
};

// The queries of one batch entry and one head of the keys as rows: row r is query r / group of head
// kv * group + r % group, so that rows of a tile are neighbours in time.
struct QueryRows {
  const Problem& p;
  int64_t b, kv;
  int group, count;

  __device__ QueryRows(const Problem& problem, int64_t batch, int64_t key_head)
      : p(problem), b(batch), kv(key_head), group(int(p.H / p.K)), count(int(p.T) * group) {}

  __device__ __forceinline__ int query(int row) const { return group == 1 ? row : row / group; }
  __device__ __forceinline__ int64_t head(int row) const {
    return group == 1 ? kv : kv * group + row % group;
  }
  // Where row `row` starts in a tensor [B, H, T, features].
  template <class S>
  __device__ __forceinline__ S* of(const Heads& x, int row) const {
    return static_cast<S*>(x.data) + b * x.batch + head(row) * x.head + query(row) * x.row;
  }
  // Place of row `row` among the numbers [B, H, 2, T] of the softmax: its maximum, and T on its sum.
  __device__ __forceinline__ int64_t statistics(int row) const {
    return (b * p.H + head(row)) * 2 * p.T + query(row);
  }
};

// Two rows of QueryRows whose numbers a lane has in one tile of sums.
struct RowPair {
  int query[2];
  int64_t head[2];
  uint32_t dropout_head[2];  // b * H + head

  __device__ __forceinline__ RowPair(const QueryRows& rows, int first, int second) {
    query[0] = rows.query(first), query[1] = rows.query(second);
    head[0] = rows.head(first), head[1] = rows.head(second);
    for (int i = 0; i < 2; i++) dropout_head[i] = uint32_t(rows.b * rows.p.H + head[i]);
  }
};

// What one of the `splits` blocks that share a range has of it, in whole tiles of `step`.
__device__ __forceinline__ KeyRange split_of(KeyRange all, int64_t split, int64_t splits, int step) {
  if (splits == 1) return all;
  const int first = all.begin / step * step, count = all.end - first;
  const int tiles = (count + step - 1) / step,
            each = max(kTilesOfSplit, (tiles + int(splits) - 1) / int(splits));
  const int64_t begin = first + split * each * step, end = begin + int64_t(each) * step;
  return {int(max(int64_t(all.begin), min(begin, int64_t(all.end)))), int(min(int64_t(all.end), end))};
}

// Begins to copy rows of keys or values, from row j of head kv. Keys that nobody sees are zeros, whatever
// stands there.
template <int kThreads, bool kPlain, class S, int kRows, int kFeatures>
__device__ __forceinline__ void load_key_rows(const Tile<S, kRows, kFeatures>& tile, const Problem& p,
                                              const Heads& from, int features, int64_t b, int64_t kv, int j,
                                              int keys) {
  const S* head = static_cast<const S*>(from.data) + b * from.batch + kv * from.head;
  const uint8_t* padding = kPlain || !p.padding ? nullptr : p.padding + b * p.S;
  tile.template load_rows<kThreads>(features, head + j * from.row, from.row, [&](int row) {
    return j + row < keys && !(padding && padding[j + row]);
  });
}

// Stores a warp's sums times `factor(row)`: rows `row0 + ..` of QueryRows or of keys, as `to(row)` says where
// a row starts, null for none.
template <class S, int kM, int kN, class A, class To, class Factor>
__device__ __forceinline__ void store_rows(const A (&sums)[kM][kN][4], int features, bool paired,
                                           const To& to, const Factor& factor) {
  struct alignas(2 * sizeof(S)) Pair {
    S first, second;
  };
#pragma unroll
  for (int m = 0; m < kM; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      S* row = to(m, half);
      if (!row) continue;
      const A by = factor(m, half);
#pragma unroll
      for (int n = 0; n < kN; n++) {
        const int f = n * 8 + sum_column();
        const S first = narrow<S>(sums[m][n][half * 2] * by),
                second = narrow<S>(sums[m][n][half * 2 + 1] * by);
        if (paired) {
          if (f < features) *reinterpret_cast<Pair*>(row + f) = {first, second};
        } else {
          if (f < features) row[f] = first;
          if (f + 1 < features) row[f + 1] = second;
        }
      }
    }
}

// Whether rows of x can be stored two numbers at a time.
template <class S>
__device__ __forceinline__ bool is_paired(const Heads& x, int64_t features) {
  const uint64_t all = uint64_t(x.batch) | uint64_t(x.head) | uint64_t(x.row) | uint64_t(features) |
                       reinterpret_cast<uint64_t>(x.data) / sizeof(S);
  return all % 2 == 0;
}

// Stores sums of a gradient: times `scale` where `result(m, half)` says, or as they are in row `part(m,
// half)` of `partial`, if it is not null. `exists(m, half)`: whether there is such a row.
template <class S, int kM, int kN, class A, class Exists, class Result, class Part>
__device__ __forceinline__ void store_split_rows(const A (&sums)[kM][kN][4], int features, const Heads& to,
                                                 A* partial, A scale, const Exists& exists,
                                                 const Result& result, const Part& part) {
  if (partial)
    store_rows<A>(
        sums, features, features % 2 == 0,
        [&](int m, int half) { return exists(m, half) ? partial + part(m, half) * features : nullptr; },
        [](int, int) { return A(1); });
  else
    store_rows<S>(
        sums, features, is_paired<S>(to, features),
        [&](int m, int half) -> S* { return exists(m, half) ? result(m, half) : nullptr; },
        [&](int, int) { return scale; });
}

}  // namespace pyrnn::attention::cuda
