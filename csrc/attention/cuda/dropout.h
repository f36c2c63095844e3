// Which weights dropout keeps: bit for bit those of attention/cpu/dropout.h. The word of key j is word j % 4
// of the Philox block with the counter (j / 4, query, b * H + h, 0) and the seed as its key.
#pragma once
#include "attention/cuda/products.h"
#include "attention/problem.h"
#include "common/cuda/philox.h"

namespace pyrnn::attention::cuda {

struct Dropout {
  uint32_t seed_low, seed_high, threshold;
  bool active;

  __device__ explicit Dropout(const Problem& p)
      : seed_low(uint32_t(p.seed)), seed_high(uint32_t(uint64_t(p.seed) >> 32)), active(p.dropout > 0) {
    const double limit = p.dropout * 4294967296.0;
    threshold = limit >= 4294967295.0 ? 0xffffffffu : uint32_t(limit);
  }

  // What the weights that stay are multiplied with.
  template <class A>
  static __device__ __forceinline__ A kept(const Problem& p) {
    return p.dropout < 1 ? A(1 / (1 - p.dropout)) : A(0);
  }

  // keep[i] for a lane's four sums of a tile of 16 queries and 8 keys from `key`, a multiple of 8.
  // query[half] and head[half] (b * H + h) are those of the rows sum_row() and sum_row() + 8. Two
  // neighbouring lanes have the halves of one block for either row: each computes one, and they exchange.
  __device__ __forceinline__ void keep_queries_by_keys(const int (&query)[2], const uint32_t (&head)[2],
                                                       int key, bool (&keep)[4]) const {
    const int odd = warp_lane() % 2;
    uint32_t word[4];
    philox(uint32_t(key + sum_column()) / 4, uint32_t(odd ? query[1] : query[0]), odd ? head[1] : head[0], 0,
           seed_low, seed_high, word);
    const uint32_t first = __shfl_xor_sync(~0u, odd ? word[0] : word[2], 1),
                   second = __shfl_xor_sync(~0u, odd ? word[1] : word[3], 1);
    keep[0] = (odd ? first : word[0]) >= threshold;
    keep[1] = (odd ? second : word[1]) >= threshold;
    keep[2] = (odd ? word[2] : first) >= threshold;
    keep[3] = (odd ? word[3] : second) >= threshold;
  }

  // The same for a tile of 16 keys from `key` and 8 queries: query[odd] and head[odd] are those of the
  // columns sum_column() and sum_column() + 1. Four lanes with neighbouring rows need one word each of four
  // blocks: of two groups of keys for two queries.
  __device__ __forceinline__ void keep_keys_by_queries(const int (&query)[2], const uint32_t (&head)[2],
                                                       int key, bool (&keep)[4]) const {
    const int place = sum_row() % 4;  // among the four; it computes the block of sum `place`
    uint32_t word[4];
    philox(uint32_t(key + sum_row() / 4 * 4 + place / 2 * 8) / 4, uint32_t(query[place % 2]), head[place % 2],
           0, seed_low, seed_high, word);
#pragma unroll
    for (int other = 0; other < 4; other++) {  // exchanges with the lane whose place is place ^ other
      const int to = place ^ other;
      const uint32_t sent = to == 0 ? word[0] : to == 1 ? word[1] : to == 2 ? word[2] : word[3];
      const bool kept_there = __shfl_xor_sync(~0u, sent, other * 4) >= threshold;
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (to == i) keep[i] = kept_there;
    }
  }
};

}  // namespace pyrnn::attention::cuda
