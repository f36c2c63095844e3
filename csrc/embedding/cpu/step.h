// The arithmetic of one step: products of C inputs with K targets, their slopes, both updates.
//
// Rows of S floats lie in L1 by then. The products are tiles of up to 4 x 4, or 1 x 8, accumulators; the
// updates hold a vector of each input while they pass over the targets.
#pragma once
#include "common/vec.h"
#include "embedding/word2vec.h"

namespace pyrnn::embedding {
namespace {

using V = Vec<float>;
typedef float quad __attribute__((vector_size(16)));
constexpr int kLane = kLanes<float>;
constexpr int kTile = kVectorBytes == 64 ? 4 : 2;  // inputs of a tile: as many as registers hold

// A number as a type, and f of the one that `count` is, or of kMost where it is more; nothing for 0.
template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};
template <int kMost, class F>
inline void with_count(int64_t count, F f) {
  if (count >= kMost) return f(Constant<kMost>{});
  if constexpr (kMost > 1) with_count<kMost - 1>(count, f);
}

// Lanes l and l + n of each 2 n, swapped.
template <int n>
inline V swapped(V v) {
  typename VecTypes<float>::mask order;
  for (int l = 0; l < kLane; l++) order[l] = l ^ n;
#if defined(__clang__)
  V to;
  for (int l = 0; l < kLane; l++) to[l] = v[order[l]];
  return to;
#else
  return __builtin_shuffle(v, order);
#endif
}

// Of each four lanes (a0 + a2, b0 + b2, a1 + a3, b1 + b3), then (a, b, c, d) from two of those.
template <bool kPairs>
inline V added(V a, V b) {
  typename VecTypes<float>::mask low, high;
  for (int l = 0; l < kLane; l++) {
    const int block = l / 4 * 4, place = l % 4;
    low[l] = kPairs ? block + place % 2 + place / 2 * kLane : block + place / 2 + place % 2 * kLane;
    high[l] = low[l] + 2;
  }
#if defined(__clang__)
  V to;
  for (int l = 0; l < kLane; l++)
    to[l] = (low[l] < kLane ? a[low[l]] : b[low[l] - kLane]) +
            (high[l] < kLane ? a[high[l]] : b[high[l] - kLane]);
  return to;
#else
  return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
#endif
}

// The sums of the lanes of four vectors.
inline void store_sums(float* to, V a, V b, V c, V d) {
  V sums = added<true>(added<false>(a, b), added<false>(c, d));
  if constexpr (kLane >= 16) sums += swapped<8>(sums);
  if constexpr (kLane >= 8) sums += swapped<4>(sums);
  for (int l = 0; l < 4; l++) to[l] = sums[l];
}

// ---- products

// scores[c * pitch + r] = x_c . u_r; of a group of four targets the places of those beyond R get zero.
template <int C, int R>
inline void dot_tile(const float* const* x, const float* const* u, int64_t S, float* scores, int64_t pitch) {
  V sums[C][(R + 3) / 4 * 4] = {};
  for (int64_t d = 0; d < S; d += kLane) {
    V inputs[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) inputs[c] = load(x[c] + d);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const V target = load(u[r] + d);
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) sums[c][r] += inputs[c] * target;
    }
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; c++)
#pragma GCC unroll 2
    for (int r = 0; r < R; r += 4)
      store_sums(scores + c * pitch + r, sums[c][r], sums[c][r + 1], sums[c][r + 2], sums[c][r + 3]);
}

template <int C, int kMost>
inline void dot_rows(const float* const* x, const float* const* u, int64_t S, float* scores, int64_t pitch,
                     int64_t K) {
  for (; K > kMost; u += kMost, scores += kMost, K -= kMost) dot_tile<C, kMost>(x, u, S, scores, pitch);
  with_count<kMost>(K, [&](auto rows) { dot_tile<C, rows.value>(x, u, S, scores, pitch); });
}

inline void dots(const float* const* x, const float* const* u, int64_t S, float* scores, int64_t pitch,
                 int64_t C, int64_t K) {
  for (; C >= kTile; x += kTile, scores += kTile * pitch, C -= kTile)
    dot_rows<kTile, 4>(x, u, S, scores, pitch, K);
  for (; C >= 2; x += 2, scores += 2 * pitch, C -= 2) dot_rows<2, 4>(x, u, S, scores, pitch, K);
  if (C) dot_rows<1, 8>(x, u, S, scores, pitch, K);
}

// ---- slopes

// Sums of log(1 + exp(-z)) = max(-z, 0) + log(1 + exp(-|z|)), of which the second is the logarithm of a
// product: each lane's is below 2^kMost before it goes into `total`.
struct LossSum {
  static constexpr int kMost = 96;
  V product = splat(1.0f), linear = {};
  int count = 0;
  double total = 0;

  void add(V excess, V factor) {
    linear += excess;
    product *= factor;
    if (++count == kMost) flush();
  }
  void flush() {
    double first = 1, second = 1;
    for (int l = 0; l < kLane; l++)
      (l < 8 ? first : second) *= double(product[l]), total += double(linear[l]);
    total += __builtin_log(first) + __builtin_log(second);
    product = splat(1.0f), linear = V{}, count = 0;
  }
};

// In the place of each score its slope: rate * sign / (1 + exp(sign * score)), 0 where the sign is 0.
inline void slopes(float* scores, const float* signs, int64_t count, float rate, LossSum& sum) {
  int64_t none = 0;
  for (int64_t i = 0; i < count; i += kLane) {
    const V sign = first_lanes<float>(load(signs + i), count - i),
            z = first_lanes<float>(load(scores + i), count - i) * sign;
    const V e = VectorMath::exp(z < 0 ? z : -z), inverse = 1.0f / (1.0f + e);
    sum.add(z < 0 ? -z : V{}, 1.0f + e);
    store(scores + i, sign * rate * (z < 0 ? inverse : e * inverse));
    none += kLane;
  }
  // A sign of 0 has doubled its lane's product.
  for (int64_t i = 0; i < count; i++) none -= signs[i] != 0;
  sum.total -= 0.693147180559945309417 * double(none);
}

// ---- updates

// Of one input and R targets: u_r += a_r x, and x += sum a_r u_r, or where the input is a mean the sum alone
// into `change`, or on top of it.
template <int R, bool kMean>
inline void update_tile(float* x, float* change, float* const* u, int64_t S, const float* slopes,
                        bool first) {
  V a[R];
  float* rows[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) a[r] = splat(slopes[r]), rows[r] = u[r];
  for (int64_t d = 0; d < S; d += kLane) {
    const V input = load(x + d);
    V sum = kMean && first ? V{} : load(change + d);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const V target = load(rows[r] + d);
      sum += a[r] * target;
      store(rows[r] + d, target + a[r] * input);
    }
    store(change + d, sum);
  }
}

template <bool kMean>
inline void update_one(float* x, float* change, float* const* u, int64_t S, const float* slopes, int64_t K) {
  for (bool first = true; K > 0; u += 8, slopes += 8, K -= 8, first = false)
    with_count<8>(K, [&](auto rows) { update_tile<rows.value, kMean>(x, change, u, S, slopes, first); });
}

// Of C inputs, which may be the same row, and K targets.
template <int C>
inline void update_group(float* const* x, float* const* u, int64_t S, const float* slopes, int64_t pitch,
                         int64_t K) {
  for (int64_t d = 0; d < S; d += kLane) {
    V inputs[C], sums[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) inputs[c] = load(x[c] + d), sums[c] = V{};
    for (int64_t r = 0; r < K; r++) {
      const V target = load(u[r] + d);
      V changed = target;
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) {
        const V a = splat(slopes[c * pitch + r]);
        changed += a * inputs[c];
        sums[c] += a * target;
      }
      store(u[r] + d, changed);
    }
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) store(x[c] + d, load(x[c] + d) + sums[c]);
  }
}

inline void update(float* const* x, float* const* u, int64_t S, const float* slopes, int64_t pitch, int64_t C,
                   int64_t K) {
  with_count<kGroup>(C, [&](auto inputs) { update_group<inputs.value>(x, u, S, slopes, pitch, K); });
}

}  // namespace
}  // namespace pyrnn::embedding
