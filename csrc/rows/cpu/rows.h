// Linear layers and layer normalisation of rows. Few rows read the weights where they lie; more of them share
// panels of weights, which a thread packs just before their only use and always into the same memory, where
// they stay in its cache.
#pragma once
#include "common/few_rows.h"
#include "pointwise/activations.h"
#include "rows/problem.h"

namespace pyrnn::rows {
namespace {

template <class S, class Op>
struct Rows {
  using A = typename Op::Acc;
  using Storage = typename Op::Storage;
  using Element = typename Op::Element;
  static constexpr int L = kLanes<A>, kVectors = 2, kColumns = kVectors * L;
  static constexpr bool kInPlace = kSame<S, Storage>;
  static constexpr int kTogether = kRegisters == 32 ? 8 : kFewRows;  // rows that read the weights once
  // That pack a panel rather than read W again; converting numbers one by one takes more of them to pay.
  static constexpr int64_t kPackedRows = kInPlace ? kTogether + 1 : 512;

  static bool packs(const Linear& p) { return p.transposed || p.rows >= kPackedRows; }
  // Whether the products read a copy of x: in their own type, and of whole elements.
  static bool copies(const Linear& p) { return !kInPlace || (packs(p) && p.K % Op::kPerElement); }
  static int64_t row_of(const Linear& p) { return copies(p) ? round_up(p.K, Op::kPerElement) : p.K; }

  static int64_t scratch_bytes(const Linear& p) {
    return copies(p) ? p.rows * row_of(p) * int64_t(sizeof(Storage)) : 0;
  }
  static int64_t panel_bytes(const Linear& p) {
    const int64_t converted = kInPlace || p.transposed ? 0 : kColumns * p.K * int64_t(sizeof(Storage));
    return packs(p) ? elements<Op>(p.K) * kTask * int64_t(sizeof(Element)) + converted : 0;
  }
  static void prepare(const Linear& p, char* scratch, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++)
      copy_row<Op>((Storage*)scratch + r * row_of(p), (const S*)p.x + r * p.K, p.K, row_of(p));
  }

  static void linear(const Linear& p, const char* scratch, char* panels, int64_t begin, int64_t end,
                     int64_t following) {
    const Storage* x = copies(p) ? (const Storage*)scratch : (const Storage*)p.x;
    if (packs(p))
      packed(p, x, (Element*)panels, begin, end, following);
    else
      for (int64_t c = begin; c < end; c += L) columns_in_place(p, x, c, min(L, end - c));
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
  static void columns_in_place(const Linear& p, const Storage* x, int64_t c, int64_t columns) {
    const S* weight[L];
    for (int64_t l = 0; l < L; l++) weight[l] = (const S*)p.weight + min(c + l, p.n - 1) * p.K;
    const int64_t parts = ceil_div(p.rows, kTogether);
    for (int64_t i = 0; i < parts; i++) {  // as even as they go
      const int64_t first = p.rows * i / parts, count = p.rows * (i + 1) / parts - first;
      Vec<A> sums[kTogether];
      dot_rows<Op, S, kTogether>(count, p.K, x + first * row_of(p), row_of(p), weight, columns, sums);
      for (int64_t r = 0; r < count; r++) finish(p, first + r, c, columns, sums[r]);
    }
  }

  static void packed(const Linear& p, const Storage* x, Element* panels, int64_t begin, int64_t end,
                     int64_t following) {
    const int64_t stride = elements<Op>(p.K) * kColumns;
    const S* weight = (const S*)p.weight;
    if (p.transposed)
      pack_from_rows<Op, kVectors, S>(panels, stride, ceil_div(end - begin, kColumns), p.K, end - begin,
                                      [&](int64_t k) { return weight + k * p.n + begin; });
    else
      for (int64_t c = begin; c < end; c += kColumns)
        pack_columns(p, weight + c * p.K, min(kColumns, end - c), panels + (c - begin) / kColumns * stride,
                     (Storage*)(panels + kTask / kColumns * stride));
    // Packing reads many rows of W at once, which memory serves slowly: those of the next panels are asked
    // for meanwhile in the order in which they lie.
    const char* behind = (const char*)(weight + end * p.K);
    const int64_t bytes = p.transposed ? 0 : (following - end) * p.K * int64_t(sizeof(S));
    int64_t fetched = 0;
    for_row_tiles<kVectors>(p.rows, [&](int64_t first, int count) {
      for (; fetched * p.rows < bytes * (first + count); fetched += 64)
        __builtin_prefetch(behind + fetched, 0, 2);
      for (int64_t c = begin; c < end; c += kColumns) {
        alignas(64) A sums[max_rows(kVectors) * kColumns];
        const Element* panel = panels + (c - begin) / kColumns * stride;
        run_tile<Op, kVectors>(count, {elements<Op>(p.K), (const Element*)(x + first * row_of(p)),
                                       row_of(p) / Op::kPerElement, 1, panel, nullptr, 0, sums, kColumns});
        for (int r = 0; r < count; r++)
          for (int v = 0; v < kVectors && c + v * L < end; v++)
            finish(p, first + r, c + v * L, min(L, end - c - v * L), load<A>(sums + r * kColumns + v * L));
      }
    });
  }

  // A panel of `columns` rows of W; where the products have another type, of a copy, as whole vectors
  // convert.
  static void pack_columns(const Linear& p, const S* weight, int64_t columns, Element* panel, Storage* copy) {
    if constexpr (!kInPlace)
      for (int64_t c = 0; c < columns; c++) copy_row<Op>(copy + c * p.K, weight + c * p.K, p.K, p.K);
    const auto* from = [&] {
      if constexpr (kInPlace)
        return weight;
      else
        return copy;
    }();
    pack_from_columns<Op, kVectors, Storage>(
        panel, p.K, [&](int column) { return column < columns ? from + column * p.K : nullptr; });
  }

  // What follows the product, of one row's `columns` features from c on.
  static void finish(const Linear& p, int64_t row, int64_t c, int64_t columns, Vec<A> v) {
    const S *bias = (const S*)p.bias, *residual = (const S*)p.residual;
    const int64_t at = row * p.n + c;
    if (bias) v += load_n<A>(bias + c, columns);
    v = activate(p.activation, v);
    if (residual) v += load_n<A>(residual + at, columns);
    store_n((S*)p.out + at, v, columns);
  }

  static Vec<A> activate(int64_t activation, Vec<A> v) {
    switch (activation) {
      case pointwise::kRelu:
        return pointwise::Relu::value<VectorMath>(v);
      case pointwise::kGelu:
        return pointwise::Gelu::value<VectorMath>(v);
      case pointwise::kGeluTanh:
        return pointwise::GeluTanh::value<VectorMath>(v);
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
