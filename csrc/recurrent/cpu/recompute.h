// Recomputation of the gates of one segment of steps, for training that does not keep them.
//
// Every h is known from the output, so the products of all steps of the segment are independent of each
// other: one large product, then the cell update in order of time with c from the checkpoint before the
// segment.
#pragma once
#include "recurrent/cpu/backward_layout.h"

namespace pyrnn::recurrent {
namespace {

template <class Cell, class S, class Op>
struct Recompute {
  using Layout = BackwardLayout<Cell, S, Op>;
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Weights = typename Layout::Forward;
  static constexpr int L = kLanes<A>, NV = Weights::NV, kUnits = Weights::kUnits,
                       kColumns = Weights::kColumns;

  const Problem& p;
  const Layout& m;
  const BatchSlice& slice;
  Range steps;
  int group_size, rank;

  int64_t first_row() const { return m.step_row[0]; }
  int64_t last_row() const {
    int64_t last = steps.end - 1;
    return m.step_row[last - steps.begin] + slice.active[last];
  }

  // x and h_prev of the slice's tokens side by side, the rows split among the group.
  void gather() const {
    const auto& c = m.segment[slice.direction];
    Range mine = partition(last_row() - first_row(), group_size, rank);
    for (int64_t s = steps.begin; s < steps.end; s++)
      for (int64_t r = 0; r < slice.active[s]; r++) {
        int64_t row = m.step_row[s - steps.begin] + r, b = slice.batch[r];
        if (row - first_row() < mine.begin || row - first_row() >= mine.end) continue;
        copy_row<Op>(c.x + row * m.x_stride, row_of<const S>(p, p.x, s, b), p.I, round_up(p.I, 2));
        copy_row<Op>(c.h + row * m.h_stride, previous_hidden<S>(p, slice.direction, s, b), p.P,
                     round_up(p.P, 2));
      }
  }

  void run(A* carry) const {
    const int d = slice.direction;
    const auto& c = m.segment[d];
    const Weights& w = m.forward[d];
    const Range own = partition(Weights::panels(p), group_size, rank);
    const int64_t rows = last_row() - first_row(), tiles = ceil_div(rows, Weights::most_rows(p));
    for (int64_t i = own.begin; i < own.end; i++) {
      w.prepare_input(p, p.direction[d], i);
      w.prepare_hidden(p, p.direction[d], i);
      for (int64_t j = 0; j < tiles; j++) {
        Range tile = partition(rows, int(tiles), int(d == 0 ? j : tiles - 1 - j));
        const int count = int(tile.end - tile.begin);
        const int64_t row = first_row() + tile.begin;
        const A* bias = w.bias + i * kColumns;
        alignas(64) A gates[max_rows(NV) * kColumns];
        for (int r = 0; r < count; r++)
          for (int u = 0; u < kColumns; u += L) store(gates + r * kColumns + u, load<A>(bias + u));
        A *input = gates + Cell::kInputSlot * kUnits, *hidden = gates + Cell::kHiddenSlot * kUnits;
        w.input_product(p, p.direction[d], i, count, c.x + row * m.x_stride, m.x_stride, input, kColumns,
                        input, kColumns);
        w.hidden_product(p, p.direction[d], i, count, c.h + row * m.h_stride, m.h_stride, hidden, kColumns);
        for (int r = 0; r < count; r++) {
          int q = d == 0 ? r : count - 1 - r;
          cell_update(row + q, i * kUnits, gates + q * kColumns, carry);
        }
      }
    }
  }

 private:
  int64_t before(int64_t t) const { return slice.direction == 0 ? t - 1 : t + 1; }
  bool has(int64_t t, int64_t r) const { return t >= 0 && t < p.T && slice.active[t] > r; }

  void cell_update(int64_t row, int64_t unit, const A* gates, A* carries) const {
    const int d = slice.direction;
    const int64_t t = m.segment[d].t[row], b = m.segment[d].b[row], r = row - m.step_row[t - steps.begin];
    A* saved = m.segment[d].saved + row * Cell::kSaved * m.Hp;
    A* carry_row = carries + r * m.unit_stride;
    const bool cut = cut_before(p, d, t, b);
    for (int v = 0; v < Cell::kWidth && unit < p.H; v++, unit += L) {
      Vec<A> slot[Cell::kSlots], carry{};
      for (int s = 0; s < Cell::kSlots; s++) slot[s] = load<A>(gates + (s * Cell::kWidth + v) * L);
      if constexpr (Cell::kCarry == Carry::cell)
        if (!cut) carry = carry_before(t, b, r, unit, carry_row);
      Cell::template forward<VectorMath>(slot, carry);
      if constexpr (Cell::kCarry == Carry::cell) store(carry_row + unit, carry);
      for (int s = 0; s < Cell::kSlots; s++) store(saved + s * m.Hp + unit, slot[s]);
      if constexpr (Cell::kSaved > Cell::kSlots) store(saved + Cell::kSlots * m.Hp + unit, carry);
    }
  }

  Vec<A> carry_before(int64_t t, int64_t b, int64_t r, int64_t unit, const A* carry_row) const {
    const int d = slice.direction;
    if (has(before(t), r)) {
      if (before(t) >= steps.begin && before(t) < steps.end) return load<A>(carry_row + unit);
      return load<A>((const A*)p.workspace + ((d * m.segments + t / m.segment_steps) * p.B + b) * m.Hp +
                     unit);
    }
    const S* c0 = (const S*)p.direction[d].c0;
    return c0 ? load_n<A>(c0 + b * p.H + unit, p.H - unit) : Vec<A>{};
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
