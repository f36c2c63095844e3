// The forward pass over a whole sequence.
//
//   gates[t] = b + x[t] W_ih^T + h[t-1] W_hh^T
//   then the cell update, then optionally h = m W_hr^T
//
// A thread group computes all time steps of a slice of the batch; each of its threads owns some panels of
// units. The input product runs ahead for a segment of steps, because it then reads W_ih once for many rows;
// the gates wait in scratch that stays in cache, and the recurrent product adds to them there. The cell
// update follows each tile of the product at once.
//
// 2 N G H (I + P) operations; the packed weights are read once per segment (W_ih) and once per step (W_hh).
#pragma once
#include "recurrent/cpu/forward_weights.h"

namespace pyrnn::recurrent {
namespace {

template <class Cell, class S, class Op>
class Forward {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  using Weights = ForwardWeights<Cell, S, Op>;
  static constexpr int L = kLanes<A>, NV = Weights::NV, kUnits = Weights::kUnits,
                       kColumns = Weights::kColumns;
  static constexpr int kProjectVectors = 2, kProjectColumns = kProjectVectors * L;
  static constexpr int64_t kSegmentBytes = 384
                                           << 10;  // of gates scratch a thread: leaves room for weights in L2

  struct State {    // of one slice
    Storage* h[2];  // [rows][h_stride] products' input: this step's and the next
    A* carry;       // [rows][carry_stride]
    Storage* m;     // [rows][m_stride] h before the projection
  };

  const Problem& p;
  const Plan& plan;
  int thread, rank, group;
  int64_t all_epoch = 0, group_epoch = 0;
  int64_t panels, own_panels, gates_stride, x_stride, h_stride, carry_stride, m_stride, segment_rows;
  Weights weights[2];
  Element* projection[2];  // [project_panels][H][kProjectColumns]
  int64_t project_panels;
  Storage* x;     // [segment_rows][x_stride], private
  A* gates;       // [segment_rows][gates_stride], private
  State* states;  // [slices]

 public:
  Forward(const Problem& problem, const Plan& the_plan, int the_thread)
      : p(problem),
        plan(the_plan),
        thread(the_thread),
        rank(the_thread % plan.group_size),
        group(the_thread / plan.group_size) {}

  size_t layout(char* base) {
    Scratch s{base};
    panels = Weights::panels(p);
    own_panels = ceil_div(panels, plan.group_size);
    gates_stride = own_panels * kColumns;
    x_stride = round_up(p.I, 16) + 16;
    h_stride = round_up(max(p.P, panels * kUnits), 32) + 16;
    carry_stride = panels * kUnits;
    m_stride = h_stride;
    project_panels = p.direction[0].w_hr ? ceil_div(p.P, kProjectColumns) : 0;
    int64_t largest_slice = 0;
    for (int i = 0; i < plan.slices; i++) largest_slice = max(largest_slice, plan.slice[i].rows);
    segment_rows = max(largest_slice, min(256, kSegmentBytes / int64_t(gates_stride * sizeof(A))));
    for (int d = 0; d < p.D; d++) {
      weights[d].layout(s, p, d, plan.threads, thread);
      projection[d] = s.take<Element>(project_panels * elements<Op>(p.H) * kProjectColumns);
    }
    for (int i = 0; i < plan.threads; i++) {
      Storage* x_i = s.take<Storage>(segment_rows * x_stride);
      A* gates_i = s.take<A>(segment_rows * gates_stride);
      if (i == thread) x = x_i, gates = gates_i;
    }
    states = s.take<State>(plan.slices * plan.threads) + (base ? thread * plan.slices : 0);
    for (int i = 0; i < plan.slices; i++) {
      int64_t rows = plan.slice[i].rows;
      State state;
      state.h[0] = s.take<Storage>(rows * h_stride);
      state.h[1] = s.take<Storage>(rows * h_stride);
      state.carry = s.take<A>(Cell::kCarry == Carry::none ? 0 : rows * carry_stride);
      state.m = s.take<Storage>(project_panels ? rows * m_stride : 0);
      if (base) states[i] = state;
    }
    return s.used;
  }

  void run() {
    for (int d = 0; d < p.D; d++) {
      Range mine = partition(p.packed[d] ? 0 : panels, plan.threads, thread);
      for (int64_t i = mine.begin; i < mine.end; i++) weights[d].pack(p, p.direction[d], i);
      mine = partition(project_panels, plan.threads, thread);
      for (int64_t i = mine.begin; i < mine.end; i++)
        pack_from_columns<Op, kProjectVectors, S>(
            projection[d] + i * elements<Op>(p.H) * kProjectColumns, p.H, [&](int c) -> const S* {
              int64_t column = i * kProjectColumns + c;
              return column < p.P ? (const S*)p.direction[d].w_hr + column * p.H : nullptr;
            });
    }
    barrier(plan.all_flags, plan.threads, thread, all_epoch);
    for (int i = group; i < plan.slices; i += plan.groups) run_steps(plan.slice[i], states[i]);
  }

 private:
  void group_barrier() {
    barrier(plan.group_flags + group * plan.group_size, plan.group_size, rank, group_epoch);
  }

  void run_steps(const BatchSlice& slice, State& state) {
    const Range own = partition(panels, plan.group_size, rank);
    load_initial_state(slice, state, own);
    group_barrier();
    int now = 0;
    for (int64_t s = 0; s < slice.steps;) {
      int64_t rows = 0, end = s;
      while (end < slice.steps && (rows == 0 || rows + slice.active[time(slice, end)] <= segment_rows))
        rows += slice.active[time(slice, end++)];
      project_input(slice, own, s, end, rows);
      for (int64_t row = 0; s < end; s++, now ^= 1) {
        int64_t t = time(slice, s);
        step(slice, state, own, t, now, gates + row * gates_stride);
        row += slice.active[t];
      }
    }
    store_final_state(slice, state, own);
  }

  static int64_t time(const BatchSlice& slice, int64_t step) {
    return slice.direction == 0 ? step : slice.steps - 1 - step;
  }

  void load_initial_state(const BatchSlice& slice, State& state, Range own) {
    const Direction& w = p.direction[slice.direction];
    Range mine = partition(slice.rows, plan.group_size, rank);
    const auto enters = [&](const void* first, int64_t r) {
      return first && !drops_initial_state(p, slice.direction, slice.batch[r]);
    };
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const S* h0 = enters(w.h0, r) ? (const S*)w.h0 + slice.batch[r] * p.P : nullptr;
      for (Storage* h : state.h) copy_row<Op>(h + r * h_stride, h0, p.P, h_stride);
      if (state.m) copy_row<Op>(state.m + r * m_stride, (const S*)nullptr, 0, m_stride);
    }
    if constexpr (Cell::kCarry != Carry::none) {
      const S* from = (const S*)(Cell::kCarry == Carry::cell ? w.c0 : w.h0);
      for (int64_t r = 0; r < slice.rows; r++) {
        const bool given = enters(from, r);
        for (int64_t u = own.begin * kUnits; u < own.end * kUnits; u += L)
          store(state.carry + r * carry_stride + u,
                given && u < p.H ? load_n<A>(from + slice.batch[r] * p.H + u, p.H - u) : Vec<A>{});
      }
    }
  }

  void project_input(const BatchSlice& slice, Range own, int64_t begin, int64_t end, int64_t rows) {
    const Weights& w = weights[slice.direction];
    int64_t row = 0;
    for (int64_t s = begin; s < end; s++) {
      int64_t t = time(slice, s);
      for (int64_t r = 0; r < slice.active[t]; r++, row++)
        copy_row<Op>(x + row * x_stride, row_of<const S>(p, p.x, t, slice.batch[r]), p.I, round_up(p.I, 2));
    }
    for (int64_t i = own.begin; i < own.end; i++) {
      const A* bias = w.bias + i * kColumns;
      A* panel = gates + (i - own.begin) * kColumns;
      w.prepare_input(p, p.direction[slice.direction], i);
      Weights::for_tiles(p, rows, [&](int64_t r, int count) {
        w.input_product(p, p.direction[slice.direction], i, count, x + r * x_stride, x_stride,
                        bias + Cell::kInputSlot * kUnits, 0,
                        panel + r * gates_stride + Cell::kInputSlot * kUnits, gates_stride);
        if constexpr (Cell::kSlots > Cell::kGates)  // the slot that the input product does not fill
          for (int j = 0; j < count; j++)
            for (int u = Cell::kGates * kUnits; u < kColumns; u += L)
              store(panel + (r + j) * gates_stride + u, load<A>(bias + u));
      });
    }
  }

  void step(const BatchSlice& slice, State& state, Range own, int64_t t, int now, A* step_gates) {
    const Weights& w = weights[slice.direction];
    const Storage* h = state.h[now];
    for (int64_t i = own.begin; i < own.end; i++) {
      A* panel = step_gates + (i - own.begin) * kColumns;
      w.prepare_hidden(p, p.direction[slice.direction], i);
      Weights::for_tiles(p, slice.active[t], [&](int64_t r, int count) {
        A* c = panel + r * gates_stride + Cell::kHiddenSlot * kUnits;
        w.hidden_product(p, p.direction[slice.direction], i, count, h + r * h_stride, h_stride, c,
                         gates_stride);
        for (int j = 0; j < count; j++)
          cell_update(slice, state, t, now, r + j, i * kUnits, panel + (r + j) * gates_stride);
      });
    }
    const Range units = {own.begin * kUnits, own.end * kUnits};
    if constexpr (Cell::kCarry != Carry::none)
      clear_cut(p, slice, t, state.carry, carry_stride, units.begin, units.end);
    if (!project_panels) clear_cut(p, slice, t, state.h[now ^ 1], h_stride, units.begin, units.end);
    group_barrier();
    if (project_panels) {
      project_output(slice, state, t, now);
      group_barrier();
    }
  }

  // One row's kUnits units from `unit`.
  void cell_update(const BatchSlice& slice, State& state, int64_t t, int now, int64_t r, int64_t unit,
                   const A* row) {
    const int d = slice.direction;
    const int64_t b = slice.batch[r], Hp = round_up(p.H, kWorkspaceAlign);
    A* saved = p.workspace && Cell::kSaved && !p.checkpoint_every
                   ? (A*)p.workspace + (d * p.N + token_of(p, t, b)) * Cell::kSaved * Hp
                   : nullptr;
    A* entry = checkpoint_row(d, t, b, Hp);
    S* y = row_of<S>(p, p.y, t, b) + d * p.P;
    S* cells = Cell::kCarry == Carry::cell && p.cells.data ? row_of<S>(p, p.cells, t, b) + d * p.H : nullptr;
    Storage* h_next = state.m ? state.m + r * m_stride : state.h[now ^ 1] + r * h_stride;
    for (int v = 0; v < Cell::kWidth && unit < p.H; v++, unit += L) {
      Vec<A> slot[Cell::kSlots], carry{};
      for (int s = 0; s < Cell::kSlots; s++) slot[s] = load<A>(row + (s * Cell::kWidth + v) * L);
      if constexpr (Cell::kCarry != Carry::none) carry = load<A>(state.carry + r * carry_stride + unit);
      if (entry) store(entry + unit, carry);
      Vec<A> h = Cell::template forward<VectorMath>(slot, carry);
      if constexpr (Cell::kCarry != Carry::none) store(state.carry + r * carry_stride + unit, carry);
      if (saved) {
        for (int s = 0; s < Cell::kSlots; s++) store(saved + s * Hp + unit, slot[s]);
        if constexpr (Cell::kSaved > Cell::kSlots) store(saved + Cell::kSlots * Hp + unit, carry);
      }
      if (cells) store_n(cells + unit, carry, p.H - unit);
      // Padding may be no number, and the last pair of an odd H takes one of it into the product.
      store(h_next + unit, first_lanes<A>(as_stored<S, A>(h), p.H - unit));
      if (!state.m) store_n(y + unit, h, p.H - unit);
    }
  }

  // Where c before step t is kept for recomputation, if t is the first step of a segment of
  // `checkpoint_every`.
  A* checkpoint_row(int d, int64_t t, int64_t b, int64_t Hp) const {
    if (Cell::kCarry != Carry::cell || !p.workspace || !p.checkpoint_every) return nullptr;
    int64_t segment = t / p.checkpoint_every, segments = ceil_div(p.T, p.checkpoint_every);
    int64_t first = d == 0 ? segment * p.checkpoint_every : (segment + 1) * p.checkpoint_every - 1;
    return t == first ? (A*)p.workspace + ((d * segments + segment) * p.B + b) * Hp : nullptr;
  }

  void project_output(const BatchSlice& slice, State& state, int64_t t, int now) {
    const int d = slice.direction;
    constexpr int E = Op::kPerElement;
    const Range own = partition(project_panels, plan.group_size, rank);
    for (int64_t i = own.begin; i < own.end; i++)
      for_row_tiles<kProjectVectors>(slice.active[t], [&](int64_t r, int count) {
        alignas(64) A c[max_rows(kProjectVectors) * kProjectColumns];
        run_tile<Op, kProjectVectors>(
            count, {elements<Op>(p.H), (const Element*)(state.m + r * m_stride), m_stride / E, 1,
                    projection[d] + i * elements<Op>(p.H) * kProjectColumns, nullptr, 0, c, kProjectColumns});
        for (int j = 0; j < count; j++) {
          S* y = row_of<S>(p, p.y, t, slice.batch[r + j]) + d * p.P;
          Storage* h_next = state.h[now ^ 1] + (r + j) * h_stride;
          for (int v = 0; v < kProjectVectors; v++) {
            int64_t column = i * kProjectColumns + v * L;
            if (column >= p.P) break;
            Vec<A> h = load<A>(c + j * kProjectColumns + v * L);
            store_n(h_next + column, as_stored<S, A>(h), p.P - column);
            store_n(y + column, h, p.P - column);
          }
        }
      });
    clear_cut(p, slice, t, state.h[now ^ 1], h_stride, own.begin * kProjectColumns,
              min(own.end * kProjectColumns, p.P));
  }

  void store_final_state(const BatchSlice& slice, State& state,
                         Range own) {  // after a barrier: the whole output row is there
    const int d = slice.direction;
    const Direction& w = p.direction[d];
    Range mine = partition(slice.rows, plan.group_size, rank);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      int64_t b = slice.batch[r], length = plan.last[b];
      const S* h = length ? row_of<S>(p, p.y, d == 0 ? length - 1 : 0, b) + d * p.P
                   : w.h0 ? (const S*)w.h0 + b * p.P
                          : nullptr;
      S* h_n = (S*)w.h_n + b * p.P;
      for (int64_t i = 0; i < p.P; i++) h_n[i] = h ? h[i] : 0;
    }
    if constexpr (Cell::kCarry == Carry::cell)
      for (int64_t r = 0; r < slice.rows; r++)
        for (int64_t u = own.begin * kUnits; u < min(own.end * kUnits, p.H); u += L)
          store_n((S*)w.c_n + slice.batch[r] * p.H + u, load<A>(state.carry + r * carry_stride + u), p.H - u);
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
