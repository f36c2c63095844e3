// The gradients of a linear layer's weight and bias: sums over rows, a segment of them at a time. Threads
// pack x together, then each owns features of g, which it packs for itself, and with them rows of the result:
// a sum has the same order whoever makes it.
#pragma once
#include "common/outer_product.h"
#include "rows/problem.h"

namespace pyrnn::rows {
namespace {

template <class S, class Op>
struct WeightGradients {
  using A = typename Op::Acc;
  using Storage = typename Op::Storage;
  using Element = typename Op::Element;
  using Outer = OuterProduct<S, Op>;
  static constexpr int kVectors = Outer::kVectors, kColumns = Outer::kColumns, MR = Outer::MR;
  static constexpr int64_t kTasks = 16;  // at least, if tiles are enough
  static constexpr bool kPairs = Op::kPerElement == 2;
  static constexpr bool kConverts = !kSame<S, Storage>, kOwnSums = !kSame<S, A>;

  static int64_t panel_stride(const WeightGradient& p) {
    return elements<Op>(min(p.rows, kSegment)) * kColumns;
  }

  struct Shared {
    Element* panels;   // of x [panels][segment][kColumns]
    A *weight, *bias;  // sums [n][K], [n]; in the results themselves where these are of that type
    size_t bytes;
  };
  static Shared shared(const WeightGradient& p, char* base) {
    Scratch memory{base};
    Shared s;
    s.panels = memory.take<Element>(ceil_div(p.K, kColumns) * panel_stride(p));
    s.weight = kOwnSums ? memory.take<A>(p.n * p.K) : (A*)p.d_weight;
    s.bias = kOwnSums || !p.d_bias ? memory.take<A>(p.n) : (A*)p.d_bias;
    s.bytes = memory.used;
    return s;
  }

  struct Own {
    Element* left;
    Storage* converted;  // [segment][kBlock]
    size_t bytes;
  };
  static Own own(const WeightGradient& p, char* base) {
    Scratch memory{base};
    Own o;
    o.left = memory.take<Element>(Outer::kBlock * elements<Op>(min(p.rows, kSegment)));
    o.converted = memory.take<Storage>(kConverts ? Outer::kBlock * min(p.rows, kSegment) : 0);
    o.bytes = memory.used;
    return o;
  }

  static int64_t scratch_bytes(const WeightGradient& p) { return int64_t(shared(p, nullptr).bytes); }
  static int64_t own_bytes(const WeightGradient& p) { return int64_t(own(p, nullptr).bytes); }
  static int64_t block(const WeightGradient& p) {
    return min(Outer::kBlock, round_up(ceil_div(p.n, kTasks), MR));
  }

  static void pack_input(const WeightGradient& p, char* scratch, int64_t first, int64_t part) {
    static_assert(kPackTask % kColumns == 0);
    const int64_t begin = part * kPackTask, stride = panel_stride(p), columns = min(kPackTask, p.K - begin);
    pack_from_rows<Op, kVectors, S>(shared(p, scratch).panels + begin / kColumns * stride, stride,
                                    ceil_div(columns, kColumns), min(kSegment, p.rows - first), columns,
                                    [&](int64_t k) { return (const S*)p.x + (first + k) * p.K + begin; });
  }

  static void weight_gradient(const WeightGradient& p, char* scratch, char* own_scratch, int64_t first,
                              int64_t begin, int64_t end) {
    const Shared s = shared(p, scratch);
    const Own o = own(p, own_scratch);
    const int64_t rows = min(kSegment, p.rows - first), count = end - begin;
    const bool last = first + rows == p.rows;
    const Outer outer{o.left, panel_stride(p)};
    const S* g = (const S*)p.g + first * p.n + begin;
    if (first == 0)
      for (int64_t i = begin; i < end; i++) s.bias[i] = 0;
    if constexpr (kConverts) {
      for (int64_t k = 0; k < rows; k++)
        copy_row<Op>(o.converted + k * Outer::kBlock, g + k * p.n, count, count);
      outer.pack_left(o.converted, Outer::kBlock, rows, count, s.bias + begin);
    } else {
      outer.pack_left(g, p.n, rows, count, s.bias + begin);
    }
    outer.multiply(s.panels, rows, begin, count, p.K, s.weight, (S*)p.d_weight, first == 0, last);
    if constexpr (kOwnSums)
      if (last && p.d_bias) Outer::write(s.bias + begin, (S*)p.d_bias + begin, count);
  }
};

}  // namespace
}  // namespace pyrnn::rows
