// One step of AdaGrad a pair: see embedding/glove.h.
#pragma once
#include "common/layer_norm.h"
#include "common/vec.h"
#include "embedding/glove.h"

namespace pyrnn::embedding {
namespace {

using V = Vec<float>;

inline V roots(V x) {
#if PYRNN_VECTOR_BYTES == 64
  return (V)_mm512_maskz_sqrt_ps(0xffff, (__m512)x);
#elif PYRNN_VECTOR_BYTES == 32 && defined(__AVX2__)
  return (V)_mm256_sqrt_ps((__m256)x);
#else
  for (int l = 0; l < kLanes<float>; l++) x[l] = root(x[l]);
  return x;
#endif
}

struct Glove {
  static constexpr int64_t L = kLanes<float>;

  // Sum of f e^2 over the pairs, each as it is found.
  template <bool kUpdates>
  static double run(const GlovePart& p) {
    float* const words = p.rows;
    float* const contexts = words + 2 * p.V * p.S;
    double loss = 0;
    for (int64_t n = 0; n < p.count; n++) {
      if (n + kAhead < p.count) {
        const GlovePair& next = p.pairs[n + kAhead];
        fetch<kUpdates>(words + 2 * p.S * next.row, p.S);
        fetch<kUpdates>(contexts + 2 * p.S * next.column, p.S);
      }
      const GlovePair& pair = p.pairs[n];
      float *const w = words + 2 * p.S * pair.row, *const c = contexts + 2 * p.S * pair.column;
      const float error = product(w, c, p.S) - pair.log_count, slope = pair.weight * error;
      loss += double(slope) * double(error);
      if (kUpdates) update(w, c, p.S, slope, p.learning_rate);
    }
    return loss;
  }

 private:
  static constexpr int kAhead = 4;  // pairs whose rows are on their way to the cache

  template <bool kUpdates>
  static inline void fetch(const float* row, int64_t S) {
    const char* const bytes = reinterpret_cast<const char*>(row);
    const int64_t count = (kUpdates ? 2 : 1) * S * int64_t(sizeof(float));
    for (int64_t i = 0; i < count; i += 64) __builtin_prefetch(bytes + i, kUpdates);
  }

  // Of the last vector's lanes that of the bias, whose factor in the product is one.
  static inline V with_one(V v) {
    v[L - 1] = 1;
    return v;
  }

  // w . c + b + d
  static inline float product(const float* w, const float* c, int64_t S) {
    V sums[4] = {};
    int64_t i = 0;
    for (; i + 4 * L <= S - L; i += 4 * L)
#pragma GCC unroll 4
      for (int turn = 0; turn < 4; turn++)
        sums[turn] += load<float>(w + i + turn * L) * load<float>(c + i + turn * L);
    for (; i < S - L; i += L) sums[0] += load<float>(w + i) * load<float>(c + i);
    const V last_w = load<float>(w + i), last_c = load<float>(c + i);
    V products = last_w * last_c;
    products[L - 1] = last_w[L - 1] + last_c[L - 1];
    return sum_of_lanes<float>((sums[0] + sums[1]) + (sums[2] + (sums[3] + products)));
  }

  static inline void update(float* w, float* c, int64_t S, float slope, float rate) {
    int64_t i = 0;
    for (; i < S - L; i += L) {
      const V old_w = load<float>(w + i), old_c = load<float>(c + i);
      step(w + i, S, old_w, slope * old_c, rate);
      step(c + i, S, old_c, slope * old_w, rate);
    }
    const V old_w = load<float>(w + i), old_c = load<float>(c + i);
    step(w + i, S, old_w, slope * with_one(old_c), rate);
    step(c + i, S, old_c, slope * with_one(old_w), rate);
  }

  static inline void step(float* at, int64_t S, V old, V gradient, float rate) {
    const V sum = load<float>(at + S) + gradient * gradient;
    store(at + S, sum);
    store(at, old - rate * gradient / roots(sum));
  }
};

}  // namespace
}  // namespace pyrnn::embedding
