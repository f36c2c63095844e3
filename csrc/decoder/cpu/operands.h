// The products of one step with weights that stay the same: packed once a call, or read in place for few
// rows. The gates' forward product is that of a recurrent layer whose input is the context.
#pragma once
#include "decoder/problem.h"
#include "recurrent/cpu/forward_weights.h"

namespace pyrnn::decoder {
namespace {

// Rows of an operand of the storage type, whole elements, off the power of two.
constexpr int64_t operand_stride(int64_t features) { return round_up(features, 32) + 32; }

// c [rows][n] = a [rows][K] W^T, W [n][K].
template <class S, class Op>
struct ForwardProduct {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  static constexpr int L = kLanes<A>, kVectors = 2, kColumns = kVectors * L;

  const S* weight;
  int64_t n, K;
  bool in_place;
  Element* packed;  // [panels][K][kColumns]

  int64_t panels() const { return ceil_div(n, kColumns); }
  void layout(Scratch& s, const void* w, int64_t columns, int64_t features, bool few) {
    weight = (const S*)w, n = w ? columns : 0, K = features, in_place = few;
    packed = s.take<Element>(few ? 0 : panels() * elements<Op>(K) * kColumns);
  }
  void pack(int threads, int thread) const {
    const Range own = partition(in_place ? 0 : panels(), threads, thread);
    for (int64_t i = own.begin; i < own.end; i++)
      pack_from_columns<Op, kVectors, S>(packed + i * elements<Op>(K) * kColumns, K, [&](int c) -> const S* {
        return i * kColumns + c < n ? weight + (i * kColumns + c) * K : nullptr;
      });
  }
  // to(row, column, sums of a vector of columns), of one panel.
  template <class To>
  void multiply(int64_t panel, int64_t rows, const Storage* a, int64_t a_row, To to) const {
    if (in_place) return dot(panel, rows, a, a_row, to);
    for_row_tiles<kVectors>(rows, [&](int64_t r, int count) {
      alignas(64) A c[max_rows(kVectors) * kColumns];
      run_tile<Op, kVectors>(count,
                             {elements<Op>(K), (const Element*)(a + r * a_row), a_row / Op::kPerElement, 1,
                              packed + panel * elements<Op>(K) * kColumns, nullptr, 0, c, kColumns});
      for (int j = 0; j < count; j++)
        for (int v = 0; v < kVectors; v++)
          if (panel * kColumns + v * L < n)
            to(r + j, panel * kColumns + v * L, load<A>(c + j * kColumns + v * L));
    });
  }

 private:
  template <class To>
  void dot(int64_t panel, int64_t rows, const Storage* a, int64_t a_row, To to) const {
    for (int64_t column = panel * kColumns; column < min((panel + 1) * kColumns, n); column += L) {
      const int64_t count = min(L, n - column);
      const S* w[L];
      for (int64_t l = 0; l < L; l++) w[l] = weight + (column + min(l, count - 1)) * K;
      for (int64_t first = 0; first < rows; first += kFewRows) {
        Vec<A> sums[kFewRows];
        const int64_t together = min(kFewRows, rows - first);
        dot_rows<Op, S>(together, K, a + first * a_row, a_row, w, count, sums);
        for (int64_t r = 0; r < together; r++) to(first + r, column, sums[r]);
      }
    }
  }
};

// c [rows][n] += a [rows][slots][slot_stride] W, W [slots][slot_rows][n] in the order of `gate`.
template <class S, class Op>
struct BackwardProduct {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  static constexpr int kVectors = 2, kColumns = kVectors * kLanes<A>;
  static constexpr int64_t kBlockK = 512 / Op::kPerElement;  // a tile's left operand stays in the first cache

  const S* weight;
  int (*gate)(int);
  int64_t n, slots, slot_rows, slot_stride;
  bool in_place = false;
  Element* packed = nullptr;  // [panels][slots * slot_stride][kColumns]

  int64_t panels() const { return ceil_div(n, kColumns); }
  int64_t K() const { return elements<Op>(slots * slot_stride); }
  void layout(Scratch& s, bool few) {
    in_place = few;
    packed = s.take<Element>(few || !weight ? 0 : panels() * K() * kColumns);
  }
  void pack(int threads, int thread) const {
    const Range own = partition(in_place || !weight ? 0 : panels(), threads, thread);
    for (int64_t i = own.begin; i < own.end; i++)
      pack_from_rows<Op, kVectors, S>(
          packed + i * K() * kColumns, slots * slot_stride, n - i * kColumns, [&](int64_t k) -> const S* {
            const int64_t slot = k / slot_stride, row = k % slot_stride;
            return row < slot_rows ? row_of(int(slot), row) + i * kColumns : nullptr;
          });
  }
  void add(Range own, int64_t rows, const Storage* a, int64_t a_row, A* c, int64_t c_row) const {
    const int64_t begin = own.begin * kColumns, columns = min(own.end * kColumns, n) - begin;
    if (in_place) {
      for (int slot = 0; slot < slots && columns > 0; slot++)
        add_product_of_few<Op, S>(rows, slot_rows, a + slot * slot_stride, a_row, row_of(slot, 0) + begin, n,
                                  columns, c + begin, c_row);
      return;
    }
    for (int64_t i = own.begin; i < own.end; i++)
      for (int64_t k = 0; k < K(); k += kBlockK)
        for_row_tiles<kVectors>(rows, [&](int64_t r, int count) {
          A* to = c + r * c_row + i * kColumns;
          run_tile<Op, kVectors>(
              count, {min(kBlockK, K() - k), (const Element*)(a + r * a_row) + k, a_row / Op::kPerElement, 1,
                      packed + (i * K() + k) * kColumns, to, c_row, to, c_row});
        });
  }

 private:
  const S* row_of(int slot, int64_t row) const { return weight + (gate(slot) * slot_rows + row) * n; }
};

}  // namespace
}  // namespace pyrnn::decoder
