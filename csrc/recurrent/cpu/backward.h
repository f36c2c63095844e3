// Back-propagation through time.
//
//   d_gates[t] = the cell's derivatives of (d_h[t], d_c[t])      d_h[t-1] = d_gates[t] W_hh + what the cell
//   passes on
//
// The sequence is walked backwards in chunks of steps. Within a chunk only the recurrence above runs, split
// among threads like the forward pass; then all threads together turn the chunk's d_gates into
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
  static constexpr int64_t kBlockK = 512 / Op::kPerElement;  // elements: a tile's left operand stays in L1

  const Problem& p;
  const Plan& plan;
  int thread, member, group;
  int64_t all_epoch = 0, group_epoch = 0;
  Layout m;

 public:
  Backward(const Problem& problem, const Plan& the_plan, int the_thread)
      : p(problem),
        plan(the_plan),
        thread(the_thread),
        member(the_thread % plan.members),
        group(the_thread / plan.members) {}

  size_t layout(char* base) { return m.layout(base, p, plan, thread); }

  void run() {
    for (int d = 0; d < p.D; d++) m.pack_weights(p, d, plan.threads, thread);
    for (int i = group; i < plan.teams; i += plan.groups) start(plan.team[i], m.states[i]);
    meet_all();
    for (int64_t i = 0; i < m.chunks; i++) {
      for (int j = group; j < plan.teams; j += plan.groups) run_steps(j, i);
      meet_all();
      Gradients<Cell, S, Op> gradients{p, m, plan.threads, thread};
      for (int d = 0; d < p.D; d++) gradients.pack_inputs(d, rows_of(d, chunk_index(d, i)));
      meet_all();
      for (int d = 0; d < p.D; d++) {
        int64_t rows = rows_of(d, chunk_index(d, i));
        gradients.weights(d, rows, i == 0, i == m.chunks - 1);
        gradients.input(d, rows);  // both directions add to the same d_x
        meet_all();
      }
    }
    for (int i = group; i < plan.teams; i += plan.groups) finish(plan.team[i], m.states[i]);
  }

 private:
  void meet() { barrier(plan.group + group * plan.members, plan.members, member, group_epoch); }
  void meet_all() { barrier(plan.all, plan.threads, thread, all_epoch); }

  // The forward direction's last chunk comes first.
  int64_t chunk_index(int d, int64_t i) const { return d == 0 ? m.chunks - 1 - i : i; }
  Range steps_of(int64_t chunk) const {
    return {chunk * m.chunk_steps, min((chunk + 1) * m.chunk_steps, p.T)};
  }
  int64_t rows_of(const Team& team, int64_t chunk) const {
    int64_t rows = 0;
    Range steps = steps_of(chunk);
    for (int64_t t = steps.begin; t < steps.end; t++) rows += team.active[t];
    return rows;
  }
  int64_t rows_of(int d, int64_t chunk) const {
    int64_t rows = 0;
    for (int i = 0; i < plan.teams; i++)
      if (plan.team[i].direction == d) rows += rows_of(plan.team[i], chunk);
    return rows;
  }

  void start(const Team& team, State& state) {
    const Direction& w = p.direction[team.direction];
    auto fill = [&](A* to, int64_t stride, const void* from, int64_t n) {
      Range own = partition(stride / L, plan.members, member);
      for (int64_t r = 0; r < team.rows; r++)
        for (int64_t u = own.begin * L; u < own.end * L; u += L)
          store(to + r * stride + u,
                from && u < n ? load_n<A>((const S*)from + team.batch[r] * n + u, n - u) : Vec<A>{});
    };
    fill(state.d_h, m.h_stride, w.g_h_n, p.P);
    if constexpr (Cell::kCarry == Carry::cell) fill(state.d_carry, m.unit_stride, w.g_c_n, p.H);
  }

  // One team through one chunk.
  void run_steps(int index, int64_t i) {
    const Team& team = plan.team[index];
    const int d = team.direction;
    const int64_t chunk = chunk_index(d, i);
    const Range steps = steps_of(chunk);
    int64_t row = 0;
    for (int j = 0; j < index; j++)
      if (plan.team[j].direction == d) row += rows_of(plan.team[j], chunk);
    for (int64_t t = steps.begin; t < steps.end; t++) {
      m.step_row[t - steps.begin] = row;
      for (int64_t r = 0; r < team.active[t]; r++, row++)
        if (member == 0) m.chunk[d].t[row] = t, m.chunk[d].b[row] = team.batch[r];
    }
    State& state = m.states[index];
    if (m.recompute) {
      Recompute<Cell, S, Op> recompute{p, m, team, steps, plan.members, member};
      recompute.gather();
      meet();
      recompute.run(state.carry);
      meet();
    }
    for (int64_t s = steps.begin; s < steps.end; s++) {
      int64_t t = d == 0 ? steps.end - 1 - (s - steps.begin) : s;
      if (team.active[t]) step(team, state, steps, t);
    }
  }

  void step(const Team& team, State& state, Range steps, int64_t t) {
    const int d = team.direction;
    const int64_t row = m.step_row[t - steps.begin], rows = team.active[t];
    const Range own_h = partition(m.h_panels, plan.members, member);
    const Range own = m.projected ? partition(m.unit_panels, plan.members, member) : own_h;
    if (m.projected) {
      for (int64_t r = 0; r < rows; r++) take_output_gradient(team, state, t, r, row + r, own_h);
      meet();
      for (int64_t i = own.begin; i < own.end; i++)
        for_row_tiles<kVectors>(rows, [&](int64_t r, int count) {
          run_tile<Op, kVectors>(
              count, {elements<Op>(p.P), (const Element*)(m.chunk[d].d_projected + (row + r) * m.h_stride),
                      m.h_stride / Op::kPerElement, 1, m.product[d].hr + i * elements<Op>(p.P) * kColumns,
                      nullptr, 0, state.d_m + r * m.unit_stride + i * kColumns, m.unit_stride});
        });
    }
    for (int64_t r = 0; r < rows; r++) gate_maths(team, state, steps, t, r, row + r, own);
    meet();
    // d_h += d_gates W_hh, in blocks of K; a block of a panel serves all rows before the next is read.
    const int64_t K = elements<Op>(m.gate_K), a_row = m.gate_stride / Op::kPerElement;
    const Element* a = (const Element*)(m.chunk[d].d_gates + row * m.gate_stride) +
                       Cell::kHiddenGradSlot * m.unit_stride / Op::kPerElement;
    for (int64_t i = own_h.begin; i < own_h.end; i++)
      for (int64_t k = 0; k < K; k += kBlockK)
        for_row_tiles<kVectors>(rows, [&](int64_t r, int count) {
          A* c = state.d_h + r * m.h_stride + i * kColumns;
          run_tile<Op, kVectors>(count, {min(kBlockK, K - k), a + r * a_row + k, a_row, 1,
                                         m.hh_panel(d, i) + k * kColumns, c, m.h_stride, c, m.h_stride});
        });
  }

  // With a projection: d_projected = d_h + g_y, the row's own columns; d_h starts again at zero.
  void take_output_gradient(const Team& team, State& state, int64_t t, int64_t r, int64_t row, Range own) {
    const int d = team.direction;
    const S* g_y = p.g_y.data ? row_of<const S>(p, p.g_y, t, team.batch[r]) + d * p.P : nullptr;
    for (int64_t u = own.begin * kColumns; u < min(own.end * kColumns, m.h_stride); u += L) {
      Vec<A> d_h = load<A>(state.d_h + r * m.h_stride + u);
      if (g_y && u < p.P) d_h += load_n<A>(g_y + u, p.P - u);
      store(m.chunk[d].d_projected + row * m.h_stride + u, d_h);
      store(state.d_h + r * m.h_stride + u, Vec<A>{});
    }
  }

  // One row's own units: gradients of the gates into the chunk, of the carry in place.
  void gate_maths(const Team& team, State& state, Range steps, int64_t t, int64_t r, int64_t row, Range own) {
    const int d = team.direction;
    const int64_t b = team.batch[r], length = plan.last[b], P = p.P;
    const A* saved = saved_row(d, t, b, row);
    const A* c_before = nullptr;  // in the accumulation type, from what was saved; else from c0
    const S* c0 = nullptr;
    const S* state_row = nullptr;
    if constexpr (Cell::kSavedState == SavedState::current_hidden)
      state_row = row_of<const S>(p, p.y, t, b) + d * P;
    if constexpr (Cell::kSavedState == SavedState::previous_hidden)
      state_row = previous_hidden<S>(p, d, t, b, length);
    if constexpr (Cell::kSavedState == SavedState::cell) {
      int64_t before = d == 0 ? t - 1 : t + 1;
      if (before < 0 || before >= length) {
        c0 = p.direction[d].c0 ? (const S*)p.direction[d].c0 + b * p.H : nullptr;
      } else if (m.recompute && (before < steps.begin || before >= steps.end)) {
        c_before = (const A*)p.workspace + ((d * m.chunks + t / m.chunk_steps) * p.B + b) * m.Hp;
      } else {
        int64_t before_row = m.recompute ? m.step_row[before - steps.begin] + r : 0;
        c_before = saved_row(d, before, b, before_row) + Cell::kSlots * m.Hp;
      }
    }
    const S* g_y = p.g_y.data && !m.projected ? row_of<const S>(p, p.g_y, t, b) + d * P : nullptr;
    const S* g_cells = p.g_cells.data ? row_of<const S>(p, p.g_cells, t, b) + d * p.H : nullptr;
    Storage* d_gates = m.chunk[d].d_gates + row * m.gate_stride;
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
    if (m.recompute) return m.chunk[d].saved + row * Cell::kSaved * m.Hp;
    return (const A*)p.workspace + (d * p.N + token_of(p, t, b)) * Cell::kSaved * m.Hp;
  }

  void finish(const Team& team, State& state) {
    const Direction& w = p.direction[team.direction];
    auto copy = [&](void* to, const A* from, int64_t stride, int64_t n) {
      Range own = partition(ceil_div(n, L), plan.members, member);
      for (int64_t r = 0; to && r < team.rows; r++)
        for (int64_t u = own.begin * L; u < own.end * L && u < n; u += L)
          store_n((S*)to + team.batch[r] * n + u, load<A>(from + r * stride + u), n - u);
    };
    copy(w.d_h0, state.d_h, m.h_stride, p.P);
    if constexpr (Cell::kCarry == Carry::cell) copy(w.d_c0, state.d_carry, m.unit_stride, p.H);
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
