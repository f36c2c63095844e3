// The products of the forward pass with W_ih and W_hh: weights packed once per call, or read in place.
//
// Panel p holds kUnits units: kGates * kWidth vectors, gate after gate. Gates in scratch:
// [kSlots][kWidth][lanes]. Packing reads and writes every weight once, which pays from a handful of tokens
// on; with fewer (a few steps of a generating model) each weight is used where it lies, as a dot product
// along its row. In a single step each panel is used once: a thread packs it just before, always into the
// same memory, which stays in its cache. A scope that promises constant weights packs them beforehand
// (frozen.h).
#pragma once
#include "common/few_rows.h"
#include "recurrent/cpu/token_rows.h"

namespace pyrnn::recurrent {
namespace {

template <class Cell, class S, class Op>
struct ForwardWeights {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  static constexpr int L = kLanes<A>;
  static constexpr int NV = Cell::kGates * Cell::kWidth;
  static constexpr int kUnits = Cell::kWidth * L;
  static constexpr int kColumns = Cell::kSlots * kUnits;  // of one panel in the gates scratch
  // Dot products of bfloat16 are so fast that packing pays earlier.
  static constexpr int64_t kInPlaceTokens = Op::kPerElement == 1 ? 16 : 4;

  Element* ih;  // [panels, or threads if used once][I][NV * L]
  Element* hh;  // [panels, or threads if used once][P][NV * L]
  A* bias;      // [panels][kColumns]
  int thread;

  static int64_t panels(const Problem& p) { return ceil_div(p.H, kUnits); }
  static bool in_place(const Problem& p) { return !p.packed[0] && p.B <= kFewRows && p.N <= kInPlaceTokens; }
  static bool used_once(const Problem& p) { return !p.packed[0] && p.T == 1; }

  void layout(Scratch& s, const Problem& p, int d, int threads, int the_thread) {
    thread = the_thread;
    if (p.packed[d]) {
      Scratch kept{(char*)p.packed[d]};
      return take(kept, p, panels(p));
    }
    take(s, p, in_place(p) ? 0 : used_once(p) ? threads : panels(p));
  }

  // Memory for so many panels.
  void take(Scratch& s, const Problem& p, int64_t count) {
    ih = s.take<Element>(count * elements<Op>(p.I) * NV * L);
    hh = s.take<Element>(count * elements<Op>(p.P) * NV * L);
    bias = s.take<A>(panels(p) * kColumns);
  }

  // At the start of a call: one panel of weights, for all threads.
  void pack(const Problem& p, const Direction& w, int64_t panel) {
    if (!used_once(p) && !in_place(p)) {
      pack_input(p, w, panel);
      pack_hidden(p, w, panel);
    }
    A* row = bias + panel * kColumns;
    for (int i = 0; i < kColumns; i++) row[i] = 0;
    add_bias(p, row, (const S*)w.b_ih, Cell::input_gate, Cell::kInputSlot, panel);
    add_bias(p, row, (const S*)w.b_hh, Cell::hidden_gate, Cell::kHiddenSlot, panel);
  }

  // Before a panel's products, by the thread that makes them.
  void prepare_input(const Problem& p, const Direction& w, int64_t panel) const {
    if (used_once(p) && !in_place(p)) pack_input(p, w, panel);
  }
  void prepare_hidden(const Problem& p, const Direction& w, int64_t panel) const {
    if (used_once(p) && !in_place(p)) pack_hidden(p, w, panel);
  }

  // Rows that one product takes at most.
  static int64_t most_rows(const Problem& p) {
    return in_place(p) ? min(kFewRows, max_rows(NV)) : max_rows(NV);
  }

  // f(first, count) for all rows, as many at once as suits the product.
  template <class F>
  static void for_tiles(const Problem& p, int64_t rows, F f) {
    if (!in_place(p)) return for_row_tiles<NV>(rows, f);
    for (int64_t r = 0; r < rows; r += kFewRows) f(r, int(min(kFewRows, rows - r)));
  }

  // c [rows][kGates * kUnits] = init + x W_ih^T of one panel; x [rows][I] with row stride x_row, init_row 0
  // for one row.
  void input_product(const Problem& p, const Direction& w, int64_t panel, int rows, const Storage* x,
                     int64_t x_row, const A* init, int64_t init_row, A* c, int64_t c_row) const {
    if (in_place(p)) return dot(rows, p.I, x, x_row, input_column(p, w, panel), init, init_row, c, c_row);
    run_tile<Op, NV>(rows, {elements<Op>(p.I), (const Element*)x, x_row / Op::kPerElement, 1,
                            input_panel(p, panel), init, init_row, c, c_row});
  }

  // c += h W_hh^T of one panel.
  void hidden_product(const Problem& p, const Direction& w, int64_t panel, int rows, const Storage* h,
                      int64_t h_row, A* c, int64_t c_row) const {
    if (in_place(p)) return dot(rows, p.P, h, h_row, hidden_column(p, w, panel), c, c_row, c, c_row);
    run_tile<Op, NV>(rows, {elements<Op>(p.P), (const Element*)h, h_row / Op::kPerElement, 1,
                            hidden_panel(p, panel), c, c_row, c, c_row});
  }

 private:
  Element* input_panel(const Problem& p, int64_t panel) const {
    return ih + (used_once(p) ? thread : panel) * elements<Op>(p.I) * NV * L;
  }
  Element* hidden_panel(const Problem& p, int64_t panel) const {
    return hh + (used_once(p) ? thread : panel) * elements<Op>(p.P) * NV * L;
  }
  void pack_input(const Problem& p, const Direction& w, int64_t panel) const {
    pack_from_columns<Op, NV, S>(input_panel(p, panel), p.I, input_column(p, w, panel));
  }
  void pack_hidden(const Problem& p, const Direction& w, int64_t panel) const {
    pack_from_columns<Op, NV, S>(hidden_panel(p, panel), p.P, hidden_column(p, w, panel));
  }

  // Where the weights of a panel's column lie, contiguous in k; null for padding.
  static auto column(const Problem& p, const void* weight, int (*gate)(int), int64_t K, int64_t panel) {
    return [=, H = p.H](int c) -> const S* {
      const int64_t unit = panel * kUnits + c % kUnits;
      return unit < H ? (const S*)weight + (gate(c / kUnits) * H + unit) * K : nullptr;
    };
  }
  static auto input_column(const Problem& p, const Direction& w, int64_t panel) {
    return column(p, w.w_ih, Cell::input_gate, p.I, panel);
  }
  static auto hidden_column(const Problem& p, const Direction& w, int64_t panel) {
    return column(p, w.w_hh, Cell::hidden_gate, p.P, panel);
  }

  template <class Column>
  static void dot(int rows, int64_t K, const Storage* x, int64_t x_row, Column column, const A* init,
                  int64_t init_row, A* c, int64_t c_row) {
    for (int v = 0; v < NV; v++) {
      const S* weight[L];
      int64_t columns = 0;  // those of padding come last
      while (columns < L && (weight[columns] = column(v * L + int(columns)))) columns++;
      for (int64_t l = columns; l < L; l++) weight[l] = column(0);
      Vec<A> sums[kFewRows];
      dot_rows<Op, S>(rows, K, x, x_row, weight, columns, sums);
      for (int r = 0; r < rows; r++)
        store(c + r * c_row + v * L, load<A>(init + r * init_row + v * L) + sums[r]);
    }
  }

  static void add_bias(const Problem& p, A* row, const S* bias, int (*gate)(int), int slot, int64_t panel) {
    if (!bias) return;
    for (int g = 0; g < Cell::kGates; g++)
      for (int u = 0; u < kUnits && panel * kUnits + u < p.H; u++)
        row[(slot + g) * kUnits + u] += load_n<A>(bias + gate(g) * p.H + panel * kUnits + u, 1)[0];
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
