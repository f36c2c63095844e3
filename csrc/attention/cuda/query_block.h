// A block that owns rows of queries and goes through tiles of the keys that they see: what both passes share.
#pragma once
#include "attention/cuda/block.h"

namespace pyrnn::attention::cuda {

template <class S, class Shape, bool kPlain>
struct QueryBlock {
  using A = typename Accumulate<S>::type;
  static constexpr int kM = Shape::kM, kKeys = Shape::kSteps, kN = kKeys / 8, kThreads = Shape::kThreads;
  using QueryTile = Tile<S, Shape::kRows, Shape::kFeatures>;
  using KeyTile = Tile<S, kKeys, Shape::kFeatures>;

  const Problem& p;
  const QueryRows rows;
  const Visibility visible;
  const ScoreTransform<S> transform;
  const Dropout dropout;
  int first_row, warp_row;  // of the block; of the warp within it
  int first, last;          // queries of the block
  int D, V;
  KeyRange range[kM][2];  // that each of this lane's rows sees

  __device__ QueryBlock(const Problem& of, const Place& place, int64_t tile)
      : p(of), rows(of, place.b, place.kv), visible(of, place.b), transform(of), dropout(of) {
    first_row = int(tile) * Shape::kRows;
    warp_row = int(threadIdx.x) / 32 * 16 * kM;
    first = rows.query(first_row), last = rows.query(min(first_row + Shape::kRows, rows.count) - 1);
    D = int(p.D), V = int(p.V);
#pragma unroll
    for (int m = 0; m < kM; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = row_of(m, half);
        range[m][half] = row < rows.count ? visible.of(rows.query(row)) : KeyRange{0, 0};
      }
  }

  __device__ __forceinline__ int row_of(int m, int half) const {
    return first_row + warp_row + m * 16 + sum_row() + half * 8;
  }

  __device__ __forceinline__ KeyRange keys_of_split(int64_t split, int64_t splits, int64_t per_split) const {
    return split_of(visible.of_all(first, last), split, splits, per_split);
  }
  // Tiles of keys from keys.begin / kKeys * kKeys on.
  __device__ __forceinline__ int tiles_of(KeyRange keys) const {
    return keys.begin < keys.end ? (keys.end - 1) / kKeys - keys.begin / kKeys + 1 : 0;
  }
  // Whether some query may not see some key of the tile from j.
  __device__ __forceinline__ bool is_partial(KeyRange keys, int j) const {
    return (!kPlain && p.mask_kind != kNoMask) || j < keys.begin || j + kKeys > keys.end ||
           !visible.sees_whole(first, last, j, kKeys);
  }

  __device__ __forceinline__ void load_queries(const QueryTile& tile, const Heads& from, int features) const {
    tile.template load<kThreads>(features, from.data, [&](int row) -> const S* {
      return first_row + row < rows.count ? rows.template of<const S>(from, first_row + row) : nullptr;
    });
  }
  __device__ __forceinline__ void load_keys(const KeyTile& tile, const Heads& from, int features,
                                            int j) const {
    load_key_rows<kThreads, kPlain>(tile, p, from, features, rows.b, rows.kv, j, visible.keys);
  }
};

}  // namespace pyrnn::attention::cuda
