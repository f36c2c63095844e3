// Back-propagation through time.
//
//   d_gates[t] = the cell's derivatives of (d_h[t], d_c[t])
//   d_h[t-1]   = d_gates[t] W_hh + the cell's gradient past the products
//
// The time loop runs backwards, in segments of steps. Within a segment only the recurrence above runs, split
// among threads like the forward pass; then all threads together turn the segment's d_gates into
//
//   d_x = d_gates W_ih        d_W = d_gates^T [x, h_prev]        d_b = column sums of d_gates
//   (weight_gradient.h)
//
// as large products while d_gates is still in cache. No sum depends on timing: each element of every result
// has one owner and one order, so a fixed thread count gives the same bits.
#pragma once
#include "recurrent/cpu/recompute.h"
#include "recurrent/cpu/weight_gradient.h"

namespace pyrnn::recurrent {
namespace {

template <class Cell, class S, class Op>
class Backward {
  using Layout = BackwardLayout<Cell, S, Op>;
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  using State = typename Layout::State;
  static constexpr int L = kLanes<A>, kVectors = Layout::kVectors, kColumns = Layout::kColumns;

  const Problem& p;
  const Plan& plan;
  int thread, rank, group;
  int64_t all_epoch = 0, group_epoch = 0;
  Layout m;

 public:
  Backward(const Problem& problem, const Plan& the_plan, int the_thread)
      : p(problem),
        plan(the_plan),
        thread(the_thread),
        rank(the_thread % plan.group_size),
        group(the_thread / plan.group_size) {}

  size_t layout(char* base) { return m.layout(base, p, plan, thread); }

  void run() {
    for (int d = 0; d < p.D; d++) m.pack_weights(p, d, plan.threads, thread);
    for (int i = group; i < plan.slices; i += plan.groups) load_state_gradients(plan.slice[i], m.states[i]);
    global_barrier();
    for (int64_t i = 0; i < m.segments; i++) {
      for (int j = group; j < plan.slices; j += plan.groups) run_steps(j, i);
      global_barrier();
      Gradients<Cell, S, Op> gradients{p, m, plan.threads, thread};
      for (int d = 0; d < p.D; d++) gradients.pack_inputs(d, rows_of(d, segment_index(d, i)));
      global_barrier();
      for (int d = 0; d < p.D; d++) {
        int64_t rows = rows_of(d, segment_index(d, i));
        gradients.weights(d, rows, i == 0, i == m.segments - 1);
        gradients.input(d, rows);  // both directions add to the same d_x
        global_barrier();
      }
    }
    for (int i = group; i < plan.slices; i += plan.groups) store_state_gradients(plan.slice[i], m.states[i]);
  }

 private:
  void group_barrier() {
    barrier(plan.group_flags + group * plan.group_size, plan.group_size, rank, group_epoch);
  }
  void global_barrier() { barrier(plan.all_flags, plan.threads, thread, all_epoch); }

  // The forward direction's last segment comes first.
  int64_t segment_index(int d, int64_t i) const { return d == 0 ? m.segments - 1 - i : i; }
  Range steps_of(int64_t segment) const {
    return {segment * m.segment_steps, min((segment + 1) * m.segment_steps, p.T)};
  }
  int64_t rows_of(const BatchSlice& slice, int64_t segment) const {
    int64_t rows = 0;
    Range steps = steps_of(segment);
    for (int64_t t = steps.begin; t < steps.end; t++) rows += slice.active[t];
    return rows;
  }
  int64_t rows_of(int d, int64_t segment) const {
    int64_t rows = 0;
    for (int i = 0; i < plan.slices; i++)
      if (plan.slice[i].direction == d) rows += rows_of(plan.slice[i], segment);
    return rows;
  }

  void load_state_gradients(const BatchSlice& slice, State& state) {
    const Direction& w = p.direction[slice.direction];
    auto fill = [&](A* to, int64_t stride, const void* from, int64_t n) {
      Range own = partition(stride / L, plan.group_size, rank);
      for (int64_t r = 0; r < slice.rows; r++)
        for (int64_t u = own.begin * L; u < own.end * L; u += L)
          store(to + r * stride + u,
                from && u < n ? load_n<A>((const S*)from + slice.batch[r] * n + u, n - u) : Vec<A>{});
    };
    fill(state.d_h, m.h_stride, w.g_h_n, p.P);
    if constexpr (Cell::kCarry == Carry::cell) fill(state.d_carry, m.unit_stride, w.g_c_n, p.H);
  }

  // The steps of one slice in one segment.
  void run_steps(int index, int64_t i) {
    const BatchSlice& slice = plan.slice[index];
    const int d = slice.direction;
    const int64_t segment = segment_index(d, i);
    const Range steps = steps_of(segment);
    int64_t row = 0;
    for (int j = 0; j < index; j++)
      if (plan.slice[j].direction == d) row += rows_of(plan.slice[j], segment);
    for (int64_t t = steps.begin; t < steps.end; t++) {
      m.step_row[t - steps.begin] = row;
      for (int64_t r = 0; r < slice.active[t]; r++, row++)
        if (rank == 0) m.segment[d].t[row] = t, m.segment[d].b[row] = slice.batch[r];
    }
    State& state = m.states[index];
    if (m.recompute) {
      Recompute<Cell, S, Op> recompute{p, m, slice, steps, plan.group_size, rank};
      recompute.gather();
      group_barrier();
      recompute.run(state.carry);
      group_barrier();
    }
    for (int64_t s = steps.begin; s < steps.end; s++) {
      int64_t t = d == 0 ? steps.end - 1 - (s - steps.begin) : s;
      if (slice.active[t]) step(slice, state, steps, t);
    }
  }

  void step(const BatchSlice& slice, State& state, Range steps, int64_t t) {
    const int d = slice.direction;
    const int64_t row = m.step_row[t - steps.begin], rows = slice.active[t];
    const Range own_h = partition(m.h_panels, plan.group_size, rank);
    const Range own = m.projected ? partition(m.unit_panels, plan.group_size, rank) : own_h;
    clear_cut(p, slice, t, state.d_h, m.h_stride, own_h.begin * kColumns, own_h.end * kColumns);
    if constexpr (Cell::kCarry == Carry::cell)
      clear_cut(p, slice, t, state.d_carry, m.unit_stride, own.begin * kColumns, own.end * kColumns);
    if (m.projected) {
      for (int64_t r = 0; r < rows; r++) take_output_gradient(slice, state, t, r, row + r, own_h);
      group_barrier();
      for (int64_t i = own.begin; i < own.end; i++)
        for_row_tiles<kVectors>(rows, [&](int64_t r, int count) {
          run_tile<Op, kVectors>(
              count, {elements<Op>(p.P), (const Element*)(m.segment[d].d_projected + (row + r) * m.h_stride),
                      m.h_stride / Op::kPerElement, 1, m.product[d].hr + i * elements<Op>(p.P) * kColumns,
                      nullptr, 0, state.d_m + r * m.unit_stride + i * kColumns, m.unit_stride});
        });
    }
    for (int64_t r = 0; r < rows; r++) cell_update(slice, state, steps, t, r, row + r, own);
    if (d == 0 && t == 0 && !p.direction[d].d_h0) return;  // nobody asks for what lies before
    group_barrier();
    const Storage* d_gates =
        m.segment[d].d_gates + row * m.gate_stride + Cell::kHiddenGradSlot * m.unit_stride;
    if (m.in_place) {
      const Range columns = {own_h.begin * kColumns, min(own_h.end * kColumns, p.P)};
      m.add_product_in_place(p, rows, d_gates, p.direction[d].w_hh, Cell::hidden_grad_gate, p.P, columns,
                             state.d_h, m.h_stride);
      return;
    }
    // d_h += d_gates W_hh, in blocks of K; a block of a panel serves all rows before the next is read.
    const int64_t a_row = m.gate_stride / Op::kPerElement;
    m.for_hh_blocks(p, d, own_h, [&](int64_t i, int64_t k, int64_t K, const Element* weights) {
      for_row_tiles<kVectors>(rows, [&](int64_t r, int count) {
        A* c = state.d_h + r * m.h_stride + i * kColumns;
        run_tile<Op, kVectors>(count, {K, (const Element*)d_gates + r * a_row + k, a_row, 1, weights, c,
                                       m.h_stride, c, m.h_stride});
      });
    });
  }

  // With a projection: d_projected = d_h + g_y, the row's own columns; d_h starts again at zero.
  void take_output_gradient(const BatchSlice& slice, State& state, int64_t t, int64_t r, int64_t row,
                            Range own) {
    const int d = slice.direction;
    const S* g_y = p.g_y.data ? row_of<const S>(p, p.g_y, t, slice.batch[r]) + d * p.P : nullptr;
    for (int64_t u = own.begin * kColumns; u < min(own.end * kColumns, m.h_stride); u += L) {
      Vec<A> d_h = load<A>(state.d_h + r * m.h_stride + u);
      if (g_y && u < p.P) d_h += load_n<A>(g_y + u, p.P - u);
      store(m.segment[d].d_projected + row * m.h_stride + u, d_h);
      store(state.d_h + r * m.h_stride + u, Vec<A>{});
    }
  }

  // One row's own units: gradients of the gates into the segment, of the carry in place.
  void cell_update(const BatchSlice& slice, State& state, Range steps, int64_t t, int64_t r, int64_t row,
                   Range own) {
    const int d = slice.direction;
    const int64_t b = slice.batch[r], length = plan.last[b], P = p.P;
    const A* saved = saved_row(d, t, b, row);
    const A* c_before = nullptr;  // in the accumulation type, from what was saved; else from c0
    const S* c0 = nullptr;
    const S* state_row = nullptr;
    if constexpr (Cell::kSavedState == SavedState::current_hidden)
      state_row = row_of<const S>(p, p.y, t, b) + d * P;
    if constexpr (Cell::kSavedState == SavedState::previous_hidden)
      state_row = previous_hidden<S>(p, d, t, b);
    if constexpr (Cell::kSavedState == SavedState::cell) {
      int64_t before = d == 0 ? t - 1 : t + 1;
      if (cut_before(p, d, t, b)) {
        // zeros
      } else if (before < 0 || before >= length) {
        c0 = p.direction[d].c0 ? (const S*)p.direction[d].c0 + b * p.H : nullptr;
      } else if (m.recompute && (before < steps.begin || before >= steps.end)) {
        c_before = (const A*)p.workspace + ((d * m.segments + t / m.segment_steps) * p.B + b) * m.Hp;
      } else {
        int64_t before_row = m.recompute ? m.step_row[before - steps.begin] + r : 0;
        c_before = saved_row(d, before, b, before_row) + Cell::kSlots * m.Hp;
      }
    }
    const S* g_y = p.g_y.data && !m.projected ? row_of<const S>(p, p.g_y, t, b) + d * P : nullptr;
    const S* g_cells = p.g_cells.data ? row_of<const S>(p, p.g_cells, t, b) + d * p.H : nullptr;
    Storage* d_gates = m.segment[d].d_gates + row * m.gate_stride;
    for (int64_t u = own.begin * kColumns; u < own.end * kColumns; u += L) {
      Vec<A> slot[Cell::kSlots], d_slot[Cell::kSlots], previous{}, current{}, d_carry{}, d_hidden;
      // Padding gets zero gradients. What was saved of it may be no number: an infinite input times weights
      // of 0.
      const bool real = u < p.H;
      auto kept = [&](const A* from) { return first_lanes<A>(load<A>(from + u), p.H - u); };
      for (int s = 0; s < Cell::kSlots; s++)
        slot[s] = Cell::kSaved && real ? kept(saved + s * m.Hp) : Vec<A>{};
      if constexpr (Cell::kSavedState == SavedState::current_hidden) {
        if (real) current = load_n<A>(state_row + u, p.H - u);
      } else if constexpr (Cell::kSavedState == SavedState::previous_hidden) {
        if (real && state_row) previous = load_n<A>(state_row + u, p.H - u);
      } else {
        if (real) current = kept(saved + Cell::kSlots * m.Hp);
        if (real && c_before) previous = kept(c_before);
        if (real && c0) previous = load_n<A>(c0 + u, p.H - u);
        d_carry = load<A>(state.d_carry + r * m.unit_stride + u);
        if (real && g_cells) d_carry += load_n<A>(g_cells + u, p.H - u);
      }
      Vec<A> d_h =
          m.projected ? load<A>(state.d_m + r * m.unit_stride + u) : load<A>(state.d_h + r * m.h_stride + u);
      if (real && g_y) d_h += load_n<A>(g_y + u, p.H - u);
      Cell::template backward<VectorMath>(slot, previous, current, d_h, d_carry, d_slot, d_hidden);
      for (int s = 0; s < Cell::kSlots; s++) store(d_gates + s * m.unit_stride + u, d_slot[s]);
      if constexpr (Cell::kCarry == Carry::cell) store(state.d_carry + r * m.unit_stride + u, d_carry);
      if (!m.projected) store(state.d_h + r * m.h_stride + u, d_hidden);
    }
  }

  const A* saved_row(int d, int64_t t, int64_t b, int64_t row) const {
    if (!Cell::kSaved) return nullptr;
    if (m.recompute) return m.segment[d].saved + row * Cell::kSaved * m.Hp;
    return (const A*)p.workspace + (d * p.N + token_of(p, t, b)) * Cell::kSaved * m.Hp;
  }

  void store_state_gradients(const BatchSlice& slice, State& state) {
    const Direction& w = p.direction[slice.direction];
    auto copy = [&](void* to, const A* from, int64_t stride, int64_t n) {
      Range own = partition(ceil_div(n, L), plan.group_size, rank);
      for (int64_t r = 0; to && r < slice.rows; r++) {
        const bool cut = drops_initial_state(p, slice.direction, slice.batch[r]);
        for (int64_t u = own.begin * L; u < own.end * L && u < n; u += L)
          store_n((S*)to + slice.batch[r] * n + u, cut ? Vec<A>{} : load<A>(from + r * stride + u), n - u);
      }
    };
    copy(w.d_h0, state.d_h, m.h_stride, p.P);
    if constexpr (Cell::kCarry == Carry::cell) copy(w.d_c0, state.d_carry, m.unit_stride, p.H);
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
