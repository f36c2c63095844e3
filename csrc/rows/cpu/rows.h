// Linear layers and layer normalisation of a few rows.
#pragma once
#include "common/few_rows.h"
#include "pointwise/cpu/activations.h"
#include "rows/problem.h"

namespace pyrnn::rows {
namespace {

template <class S, class Op>
struct Rows {
  using A = typename Op::Acc;
  using Storage = typename Op::Storage;
  static constexpr int L = kLanes<A>;
  static constexpr bool kInPlace = kSame<S, Storage>;

  static int64_t scratch_bytes(const Linear& p) {
    return kInPlace ? 0 : p.rows * p.K * int64_t(sizeof(Storage));
  }
  static void prepare(const Linear& p, char* scratch) {
    if constexpr (!kInPlace)
      for (int64_t r = 0; r < p.rows; r++)
        copy_row<Op>((Storage*)scratch + r * p.K, (const S*)p.x + r * p.K, p.K, p.K);
  }

  static void linear(const Linear& p, const char* scratch, int64_t begin, int64_t end) {
    const Storage* x = kInPlace ? (const Storage*)p.x : (const Storage*)scratch;
    const S *bias = (const S*)p.bias, *residual = (const S*)p.residual;
    for (int64_t c = begin; c < end; c += L) {
      const int64_t columns = min(L, end - c);
      const S* weight[L];
      for (int64_t l = 0; l < L; l++) weight[l] = (const S*)p.weight + min(c + l, p.n - 1) * p.K;
      for (int64_t first = 0; first < p.rows; first += kFewRows) {
        const int64_t count = min(kFewRows, p.rows - first);
        Vec<A> sums[kFewRows];
        dot_rows<Op, S>(count, p.K, x + first * p.K, p.K, weight, columns, sums);
        for (int64_t r = 0; r < count; r++) {
          const int64_t at = (first + r) * p.n + c;
          Vec<A> v = sums[r];
          if (bias) v += load_n<A>(bias + c, columns);
          v = activate(p.activation, v);
          if (residual) v += load_n<A>(residual + at, columns);
          store_n((S*)p.out + at, v, columns);
        }
      }
    }
  }

  static void norm(const Norm& p) {
    const S *weight = (const S*)p.weight, *bias = (const S*)p.bias;
    for (int64_t r = 0; r < p.rows; r++) {
      const S* x = (const S*)p.x + r * p.n;
      S* out = (S*)p.out + r * p.n;
      const A mean = sum(p.n, [&](int64_t i, int64_t n) { return load_n<A>(x + i, n); }) / A(p.n);
      const auto centred = [&](int64_t i, int64_t n) {
        return first_lanes<A>(load_n<A>(x + i, n) - mean, n);
      };
      const A variance = sum(p.n,
                             [&](int64_t i, int64_t n) {
                               const Vec<A> d = centred(i, n);
                               return d * d;
                             }) /
                         A(p.n);
      const A scale = A(1) / root(variance + A(p.eps));
      for (int64_t i = 0; i < p.n; i += L) {
        const int64_t n = min(L, p.n - i);
        Vec<A> v = centred(i, n) * scale * load_n<A>(weight + i, n);
        if (bias) v += load_n<A>(bias + i, n);
        store_n(out + i, v, n);
      }
    }
  }

 private:
  static Vec<A> activate(int64_t activation, Vec<A> v) {
    switch (activation) {
      case pointwise::kRelu:
        return pointwise::Relu::value(v);
      case pointwise::kGelu:
        return pointwise::Gelu::value(v);
      case pointwise::kGeluTanh:
        return pointwise::GeluTanh::value(v);
      default:
        return v;
    }
  }

  // Sum of n numbers that come as vectors.
  template <class Part>
  static A sum(int64_t n, Part part) {
    Vec<A> sums[2] = {};
    for (int64_t i = 0, turn = 0; i < n; i += L, turn ^= 1) sums[turn] += part(i, min(L, n - i));
    A total = 0;
    for (int l = 0; l < L; l++) total += sums[0][l] + sums[1][l];
    return total;
  }

  static float root(float x) { return __builtin_sqrtf(x); }
  static double root(double x) { return __builtin_sqrt(x); }
};

}  // namespace
}  // namespace pyrnn::rows
