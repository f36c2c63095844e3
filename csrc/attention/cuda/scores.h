// Which keys a query sees, and how a product becomes a score: what both passes share (attention/problem.h).
//
// A block works on the rows of one batch entry and one head of the keys: the queries of all heads that share
// it, query by query. Row r is query r / group of head first_head + r % group.
#pragma once
#include "attention/cuda/products.h"
#include "attention/problem.h"

namespace pyrnn::attention::cuda {

constexpr float kLog2E = 1.4426950408889634f;
constexpr int kFar = 1 << 30;  // beyond every query and key

template <class A>
__device__ __forceinline__ A negative_infinity() {
  return -A(INFINITY);
}

struct KeyRange {
  int begin, end;
  __device__ __forceinline__ bool holds(int j) const { return begin <= j && j < end; }
};

// The keys that causal order, window and length leave to a query: an interval.
struct Visibility {
  int keys;                      // of this sequence
  int begin_offset, end_offset;  // query t sees [t + begin_offset, t + end_offset)

  __device__ Visibility(const Problem& p, int64_t b) {
    keys = int(p.lengths ? min(max(p.lengths[b], int64_t(0)), p.S) : p.S);
    const int64_t far = kFar;
    int64_t begin = -far, end = far;
    if (p.causal) end = min(end, p.query_start + 1);
    if (p.window_right >= 0) end = min(end, p.query_start + p.window_right + 1);
    if (p.window_left >= 0) begin = max(begin, p.query_start - p.window_left);
    begin_offset = int(min(max(begin, -far), far));
    end_offset = int(min(max(end, -far), far));
  }

  __device__ __forceinline__ KeyRange of(int t) const {
    const KeyRange range{max(0, t + begin_offset), min(keys, t + end_offset)};
    return range.begin < range.end ? range : KeyRange{0, 0};
  }
  // All keys that some query of t, .. , last sees.
  __device__ __forceinline__ KeyRange of_all(int t, int last) const {
    const KeyRange range{max(0, t + begin_offset), min(keys, last + end_offset)};
    return range.begin < range.end ? range : KeyRange{0, 0};
  }
  // Whether each query of t, .. , last sees every key of [j, j + n).
  __device__ __forceinline__ bool sees_whole(int t, int last, int j, int n) const {
    return last + begin_offset <= j && j + n <= keys && j + n <= t + end_offset;
  }
  // The queries that may see a key of [j, j + n): [begin, end) of T.
  __device__ __forceinline__ KeyRange queries_of(int j, int n, int64_t T) const {
    if (j >= keys) return {0, 0};
    const int64_t begin = max(int64_t(0), int64_t(j) - end_offset + 1),
                  end = min(T, int64_t(min(keys, j + n)) - begin_offset);
    return begin < end ? KeyRange{int(begin), int(end)} : KeyRange{0, 0};
  }
};

// From a product q.k to the score, each step rounded on its own: beside a mask of -1e9 the next number is 64
// away, and every pass must find the same one.
template <class S>
struct ScoreTransform {
  using A = typename Accumulate<S>::type;
  A scale, cap;
  bool only_scales;  // no cap, slopes, padding or mask
  const Problem& p;

  __device__ explicit ScoreTransform(const Problem& problem)
      : scale(A(problem.scale)),
        cap(A(problem.softcap)),
        only_scales(problem.softcap == 0 && !problem.slopes && !problem.padding &&
                    problem.mask_kind == kNoMask),
        p(problem) {}

  // Of scores that nothing but the scale changes.
  __device__ __forceinline__ A scaled(A product) const { return rounded_product(product, scale); }

  // Of all others: -inf where the mask or the padding hides key j from query t. `cap_slope`: the derivative
  // of the cap.
  __device__ __forceinline__ A full(A product, int64_t b, int64_t h, int t, int j,
                                    A* cap_slope = nullptr) const {
    A s = scaled(product);
    if (only_scales) return s;
    if (cap > 0) s = capped(s, cap_slope);
    if (p.slopes) s = biased(s, p.query_start + t - j, slope_of(b, h));
    if (p.padding && p.padding[b * p.S + j]) return negative_infinity<A>();
    if (p.mask_kind == kNoMask) return s;
    return masked(s, b * p.mask.batch + h * p.mask.head + t * p.mask.query + j * p.mask.key);
  }

  // With what stands at place `at` of the mask.
  __device__ __forceinline__ A masked(A s, int64_t at) const {
    if (p.mask_kind == kBoolMask)
      return static_cast<const uint8_t*>(p.mask.data)[at] ? s : negative_infinity<A>();
    const A bias = widen(static_cast<const S*>(p.mask.data)[at]);
    return bias == negative_infinity<A>() ? bias : s + bias;
  }

  __device__ __forceinline__ A capped(A s, A* cap_slope = nullptr) const {
    const A bounded = MathFor<S>::tanh(s / cap);
    if (cap_slope) *cap_slope = 1 - bounded * bounded;
    return rounded_product(bounded, cap);
  }
  __device__ __forceinline__ A slope_of(int64_t b, int64_t h) const {
    return A(p.slopes[b * p.slope_batch + h * p.slope_head]);
  }
  template <class Distance>
  __device__ __forceinline__ A biased(A s, Distance distance, A slope) const {
    return s - rounded_product(A(distance < 0 ? -distance : distance), slope);
  }

 private:
  // Never part of a fused multiply-add.
};

// exp of a score less its row's shift.
template <class S>
__device__ __forceinline__ typename Accumulate<S>::type weight_of(typename Accumulate<S>::type below) {
  if constexpr (sizeof(S) == 2)
    return ptx::exp2_approx(below * kLog2E);
  else
    return exp(below);
}

}  // namespace pyrnn::attention::cuda
