// Which weights dropout keeps: a function of the seed and of (batch and head, query, key) alone.
#pragma once
#include "attention/problem.h"
#include "common/philox.h"

namespace pyrnn::attention {
namespace {

// Factors of the weights: 0 for dropped ones, 1 / (1 - p) for the others.
template <class A>
struct Dropout {
  uint32_t seed_low, seed_high, threshold;
  A kept;
  bool active;

  explicit Dropout(const Problem& p)
      : seed_low(uint32_t(p.seed)), seed_high(uint32_t(uint64_t(p.seed) >> 32)), active(p.dropout > 0) {
    const double limit = p.dropout * 4294967296.0;
    threshold = limit >= 4294967295.0 ? 0xffffffffu : uint32_t(limit);
    kept = p.dropout < 1 ? A(1 / (1 - p.dropout)) : A(0);
  }

  // block [n][NV * L] = factors of the keys from j0 (a multiple of 4) for the queries from t0.
  template <int NV>
  void factors(const Problem& p, int64_t b, int64_t h, int64_t t0, int64_t j0, int64_t n, A* block) const {
    constexpr int L = kLanes<A>, W = NV * L, kWords = kLanes<float>;
    const u32_vec head = u32_vec{} + uint32_t(b * p.H + h);
    u32_vec lane;
    for (int l = 0; l < kWords; l++) lane[l] = uint32_t(l);
    for (int64_t j = 0; j < n; j += 4)
      for (int w = 0; w < W; w += kWords) {
        const u32_vec counter[4] = {u32_vec{} + uint32_t((j0 + j) / 4), lane + uint32_t(t0 + w), head,
                                    u32_vec{}};
        u32_vec word[4];
        philox(counter, seed_low, seed_high, word);
        for (int i = 0; i < 4 && j + i < n; i++) {
          A* to = block + (j + i) * W + w;
          if constexpr (kWords == L)
            store(to, word[i] < threshold ? Vec<A>{} : splat<A>(kept));
          else
            for (int l = 0; l < kWords && w + l < W; l++) to[l] = word[i][l] < threshold ? A(0) : kept;
        }
      }
  }
};

}  // namespace
}  // namespace pyrnn::attention
