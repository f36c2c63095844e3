// Queries, keys and values as the copy engine is told of them: what one copy brings of each, and where it is
// not able to.
#pragma once
#include <string>

#include "attention/problem.h"
#include "common/cuda/tensor_map.h"

namespace pyrnn::attention::cuda {

// Of 16-bit numbers. A dimension of size 1 may have any stride, also one that a tensor map cannot name: that
// of rows side by side stands for it.
inline uint64_t tensor_stride(int64_t size, int64_t elements, int64_t features) {
  return uint64_t(size == 1 ? (features + 7) / 8 * 8 : elements) * TensorTile::kElementBytes;
}

// One panel of `rows` rows of QueryRows, whose heads that share keys lie side by side.
inline TensorTile query_tile(const Problem& p, int rows) {
  const int64_t group = p.H / p.K;
  return {p.q.data,
          {uint64_t(p.D), uint64_t(p.H), uint64_t(p.T), uint64_t(p.B)},
          {tensor_stride(p.H, p.q.head, p.D), tensor_stride(p.T, p.q.row, p.D),
           tensor_stride(p.B, p.q.batch, p.D)},
          {64, uint32_t(group), uint32_t(rows / group), 1},
          Swizzle::bytes128};
}

// One panel of `keys` rows of keys or values.
inline TensorTile key_tile(const Problem& p, const Heads& from, int64_t features, int keys) {
  return {from.data,
          {uint64_t(features), uint64_t(p.S), uint64_t(p.K), uint64_t(p.B)},
          {tensor_stride(p.S, from.row, features), tensor_stride(p.K, from.head, features),
           tensor_stride(p.B, from.batch, features)},
          {64, uint32_t(keys), 1, 1},
          Swizzle::bytes128};
}

// Why tiles of `rows` queries and `keys` keys cannot be loaded, in words; empty: they can.
inline std::string why_no_tensor_tiles(const Problem& p, int rows, int keys) {
  const int64_t group = p.H / p.K;
  if (rows % group != 0)
    return "its tiles of " + std::to_string(rows) + " rows do not hold whole groups of " +
           std::to_string(group) + " heads that share keys";
  for (const TensorTile& tile :
       {query_tile(p, rows), key_tile(p, p.k, p.D, keys), key_tile(p, p.v, p.V, keys)}) {
    for (uint64_t stride : tile.strides)
      if (stride == 0) return "an expanded dimension has no stride that a tensor map can name";
    const std::string refusal = why_no_tensor_map(tile);
    if (!refusal.empty()) return refusal;
  }
  return "";
}

}  // namespace pyrnn::attention::cuda
