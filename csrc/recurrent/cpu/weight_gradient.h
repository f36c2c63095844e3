// The large products of the backward pass, over the tokens of one segment, by all threads together.
//
//   d_W_ih [G*H, I] += d_gates^T x     d_W_hh [G*H, P] += d_gates^T h_prev     d_b += column sums
//   d_W_hr [P, H] += d_projected^T m   d_x = d_gates W_ih
//
// The right operands are packed once for all threads; each thread owns rows of the results and packs its left
// operand in blocks that stay in L2.
#pragma once
#include "common/outer_product.h"
#include "recurrent/cpu/backward_layout.h"

namespace pyrnn::recurrent {
namespace {

template <class Cell, class S, class Op>
struct Gradients {
  using Layout = BackwardLayout<Cell, S, Op>;
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  static constexpr int L = kLanes<A>, kVectors = Layout::kVectors, kColumns = Layout::kColumns;
  using Outer = OuterProduct<S, Op>;
  static constexpr int64_t kBlock = Outer::kBlock;
  static_assert(kColumns == Outer::kColumns);

  const Problem& p;
  const Layout& m;
  int threads, thread;

  void pack_inputs(int d, int64_t rows) const {
    if (!p.direction[d].d_w_ih) return;
    const auto& c = m.segment[d];
    const int64_t stride = elements<Op>(m.segment_rows) * kColumns;
    Range mine = partition(m.x_panels, threads, thread);
    for (int64_t i = mine.begin; i < mine.end; i++)
      pack_from_rows<Op, kVectors, S>(c.x_panels + i * stride, rows, p.I - i * kColumns, [&](int64_t k) {
        return row_of<const S>(p, p.x, c.t[k], c.b[k]) + i * kColumns;
      });
    mine = partition(m.h_panels, threads, thread);
    for (int64_t i = mine.begin; i < mine.end; i++)
      pack_from_rows<Op, kVectors, S>(c.h_panels + i * stride, rows, p.P - i * kColumns, [&](int64_t k) {
        const S* h = previous_hidden<S>(p, d, c.t[k], c.b[k]);
        return h ? h + i * kColumns : nullptr;
      });
    if constexpr (Cell::kCarry == Carry::cell) {
      mine = partition(m.projected ? m.unit_panels : 0, threads, thread);
      for (int64_t i = mine.begin; i < mine.end; i++) {
        A buffer[2][kColumns];
        pack_from_rows<Op, kVectors, A>(c.m_panels + i * stride, rows, kColumns, [&](int64_t k) {
          projection_input(d, k, i * kColumns, buffer[k % 2]);
          return (const A*)buffer[k % 2];
        });
      }
    }
  }

  void weights(int d, int64_t rows, bool first, bool last) const {
    const Direction& w = p.direction[d];
    if (!w.d_w_ih) return;
    const Outer outer{m.left, elements<Op>(m.segment_rows) * kColumns};
    const auto& c = m.segment[d];
    const auto& k = m.product[d];
    // A slot's block costs one unit of work for each product that it takes part in; threads get equal parts.
    const int64_t blocks = ceil_div(p.H, kBlock), work = blocks * 2 * Cell::kGates;
    const Range mine = partition(work, threads, thread);
    int64_t done = 0;
    for (int slot = 0; slot < Cell::kSlots; slot++) {
      const int in = slot - Cell::kInputGradSlot, hidden = slot - Cell::kHiddenGradSlot;
      const bool has_input = in >= 0 && in < Cell::kGates, has_hidden = hidden >= 0 && hidden < Cell::kGates;
      for (int64_t i = 0; i < blocks; i++) {
        const bool owned = done >= mine.begin && done < mine.end;
        done += has_input + has_hidden;
        if (!owned) continue;
        const int64_t unit = p.H * i / blocks, count = p.H * (i + 1) / blocks - unit;
        A* sums = k.d_bias + slot * m.unit_stride + unit;
        outer.pack_left(c.d_gates + slot * m.unit_stride + unit, m.gate_stride, rows, count, sums);
        if (has_input) {
          int64_t row = Cell::input_grad_gate(in) * p.H + unit;
          outer.multiply(c.x_panels, rows, row, count, p.I, k.d_w_ih, (S*)w.d_w_ih, first, last);
          if (last && w.d_b_ih) Outer::write(sums, (S*)w.d_b_ih + row, count);
        }
        if (has_hidden) {
          int64_t row = Cell::hidden_grad_gate(hidden) * p.H + unit;
          outer.multiply(c.h_panels, rows, row, count, p.P, k.d_w_hh, (S*)w.d_w_hh, first, last);
          if (last && w.d_b_hh) Outer::write(sums, (S*)w.d_b_hh + row, count);
        }
      }
    }
    if (!m.projected) return;
    const int64_t project_blocks = ceil_div(p.P, kBlock);
    const Range own = partition(project_blocks, threads, thread);
    for (int64_t i = own.begin; i < own.end; i++) {
      const int64_t row = p.P * i / project_blocks, count = p.P * (i + 1) / project_blocks - row;
      A unused[kBlock] = {};
      outer.pack_left(c.d_projected + row, m.h_stride, rows, count, unused);
      outer.multiply(c.m_panels, rows, row, count, p.H, k.d_w_hr, (S*)w.d_w_hr, first, last);
    }
  }

  void input(int d, int64_t rows) const {
    if (!p.d_x.data) return;
    const auto& c = m.segment[d];
    const Storage* d_gates = c.d_gates + Cell::kInputGradSlot * m.unit_stride;
    if (m.in_place) {
      if (thread == 0) input_in_place(d, rows, d_gates);
      return;
    }
    const int64_t a_row = m.gate_stride / Op::kPerElement;
    const Range mine = partition(rows, threads, thread);
    const int64_t strip = m.used_once ? Layout::kStrip : 1;
    alignas(64) A sums[Layout::kStrip][Layout::kBlock * kColumns];
    for (int64_t begin = mine.begin; begin < mine.end; begin += Layout::kBlock) {
      const int64_t count = min(Layout::kBlock, mine.end - begin);
      for (int64_t first = 0; first < m.x_panels; first += strip) {
        const Range panels = {first, min(first + strip, m.x_panels)};
        m.for_ih_blocks(p, d, panels, [&](int64_t i, int64_t k, int64_t K, const Element* weights) {
          for_row_tiles<kVectors>(count, [&](int64_t r, int n) {
            A* to = sums[i - first] + r * kColumns;
            run_tile<Op, kVectors>(n, {K, (const Element*)d_gates + (begin + r) * a_row + k, a_row, 1,
                                       weights, k ? to : nullptr, kColumns, to, kColumns});
          });
        });
        for (int64_t r = 0; r < count; r++)
          for (int64_t i = first; i < panels.end; i++)
            add_input(d, begin + r, i * kColumns, min((i + 1) * kColumns, p.I),
                      sums[i - first] + r * kColumns);
      }
    }
  }

 private:
  // One row's columns [begin, end) of d_x.
  void add_input(int d, int64_t row, int64_t begin, int64_t end, const A* sums) const {
    const auto& c = m.segment[d];
    S* to = row_of<S>(p, p.d_x, c.t[row], c.b[row]);
    for (int64_t u = begin; u < end; u += L, sums += L) {
      Vec<A> sum = load<A>(sums);
      if (p.D == 2) sum += load_n<A>(to + u, end - u);  // starts at zero; each direction adds its part
      store_n(to + u, sum, end - u);
    }
  }

  void input_in_place(int d, int64_t rows, const Storage* d_gates) const {
    for (int64_t i = 0; i < rows * m.x_stride; i++) m.d_x[i] = 0;
    m.add_product_in_place(p, rows, d_gates, p.direction[d].w_ih, Cell::input_grad_gate, p.I, {0, p.I}, m.d_x,
                           m.x_stride);
    for (int64_t r = 0; r < rows; r++) add_input(d, r, 0, p.I, m.d_x + r * m.x_stride);
  }

  // h before the projection, of segment row k, kColumns units from `unit`. (A template: only an LSTM has
  // this.)
  template <class C = Cell>
  void projection_input(int d, int64_t k, int64_t unit, A* to) const {
    const auto& c = m.segment[d];
    const A* saved =
        m.recompute ? c.saved + k * Cell::kSaved * m.Hp
                    : (const A*)p.workspace + (d * p.N + token_of(p, c.t[k], c.b[k])) * Cell::kSaved * m.Hp;
    for (int u = 0; u < kColumns; u += L, unit += L) {
      Vec<A> value{};
      if (unit < p.H) {
        Vec<A> slot[Cell::kSlots];
        for (int s = 0; s < Cell::kSlots; s++) slot[s] = load<A>(saved + s * m.Hp + unit);
        value = as_stored<S, A>(
            C::template output<VectorMath>(slot, load<A>(saved + Cell::kSlots * m.Hp + unit)));
      }
      store(to + u, value);
    }
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
