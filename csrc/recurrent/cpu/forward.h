// The forward pass over a whole sequence.
//
//   gates[t] = b + x[t] W_ih^T + h[t-1] W_hh^T        then the cell's cell update, then optionally h = m
//   W_hr^T
//
// A team of threads walks some rows of the batch through time; its members own panels of units each. The
// input product runs ahead for a chunk of steps, because it then reads W_ih once for many rows; the gates
// wait in scratch that stays in cache, and the recurrent product adds to them there. The cell update follows
// each tile of the product at once.
//
// 2 N G H (I + P) operations; the packed weights are read once per chunk (W_ih) and once per step (W_hh).
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
  static constexpr int64_t kChunkBytes = 384
                                         << 10;  // of gates scratch a thread: leaves room for weights in L2

  struct State {    // of one team
    Storage* h[2];  // [rows][h_stride] products' input: this step's and the next
    A* carry;       // [rows][carry_stride]
    Storage* m;     // [rows][m_stride] h before the projection
  };

  const Problem& p;
  const Plan& plan;
  int thread, member, group;
  int64_t all_epoch = 0, group_epoch = 0;
  int64_t panels, own_panels, gates_stride, x_stride, h_stride, carry_stride, m_stride, chunk_rows;
  Weights weights[2];
  Element* projection[2];  // [project_panels][H][kProjectColumns]
  int64_t project_panels;
  Storage* x;     // [chunk_rows][x_stride], private
  A* gates;       // [chunk_rows][gates_stride], private
  State* states;  // [teams]

 public:
  Forward(const Problem& problem, const Plan& the_plan, int the_thread)
      : p(problem),
        plan(the_plan),
        thread(the_thread),
        member(the_thread % plan.members),
        group(the_thread / plan.members) {}

  size_t layout(char* base) {
    Scratch s{base};
    panels = Weights::panels(p);
    own_panels = ceil_div(panels, plan.members);
    gates_stride = own_panels * kColumns;
    x_stride = round_up(p.I, 16) + 16;
    h_stride = round_up(max(p.P, panels * kUnits), 32) + 16;
    carry_stride = panels * kUnits;
    m_stride = h_stride;
    project_panels = p.direction[0].w_hr ? ceil_div(p.P, kProjectColumns) : 0;
    int64_t most_rows = 0;
    for (int i = 0; i < plan.teams; i++) most_rows = max(most_rows, plan.team[i].rows);
    chunk_rows = max(most_rows, min(256, kChunkBytes / int64_t(gates_stride * sizeof(A))));
    for (int d = 0; d < p.D; d++) {
      weights[d].layout(s, p);
      projection[d] = s.take<Element>(project_panels * elements<Op>(p.H) * kProjectColumns);
    }
    for (int i = 0; i < plan.threads; i++) {
      Storage* x_i = s.take<Storage>(chunk_rows * x_stride);
      A* gates_i = s.take<A>(chunk_rows * gates_stride);
      if (i == thread) x = x_i, gates = gates_i;
    }
    states = s.take<State>(plan.teams * plan.threads) + (base ? thread * plan.teams : 0);
    for (int i = 0; i < plan.teams; i++) {
      int64_t rows = plan.team[i].rows;
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
      Range mine = partition(panels, plan.threads, thread);
      for (int64_t i = mine.begin; i < mine.end; i++) weights[d].pack(p, p.direction[d], i);
      mine = partition(project_panels, plan.threads, thread);
      for (int64_t i = mine.begin; i < mine.end; i++)
        pack_from_columns<Op, kProjectVectors, S>(
            projection[d] + i * elements<Op>(p.H) * kProjectColumns, p.H, [&](int c) -> const S* {
              int64_t column = i * kProjectColumns + c;
              return column < p.P ? (const S*)p.direction[d].w_hr + column * p.H : nullptr;
            });
    }
    barrier(plan.all, plan.threads, thread, all_epoch);
    for (int i = group; i < plan.teams; i += plan.groups) run_steps(plan.team[i], states[i]);
  }

 private:
  void meet() { barrier(plan.group + group * plan.members, plan.members, member, group_epoch); }

  void run_steps(const Team& team, State& state) {
    const Range own = partition(panels, plan.members, member);
    start(team, state, own);
    meet();
    int now = 0;
    for (int64_t s = 0; s < team.steps;) {
      int64_t rows = 0, end = s;
      while (end < team.steps && (rows == 0 || rows + team.active[time(team, end)] <= chunk_rows))
        rows += team.active[time(team, end++)];
      project_input(team, own, s, end, rows);
      for (int64_t row = 0; s < end; s++, now ^= 1) {
        int64_t t = time(team, s);
        step(team, state, own, t, now, gates + row * gates_stride);
        row += team.active[t];
      }
    }
    finish(team, state, own);
  }

  static int64_t time(const Team& team, int64_t step) {
    return team.direction == 0 ? step : team.steps - 1 - step;
  }

  void start(const Team& team, State& state, Range own) {
    const Direction& w = p.direction[team.direction];
    Range mine = partition(team.rows, plan.members, member);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      const S* h0 = w.h0 ? (const S*)w.h0 + team.batch[r] * p.P : nullptr;
      for (Storage* h : state.h) copy_row<Op>(h + r * h_stride, h0, p.P, h_stride);
      if (state.m) copy_row<Op>(state.m + r * m_stride, (const S*)nullptr, 0, m_stride);
    }
    if constexpr (Cell::kCarry != Carry::none) {
      const S* from = (const S*)(Cell::kCarry == Carry::cell ? w.c0 : w.h0);
      for (int64_t r = 0; r < team.rows; r++)
        for (int64_t u = own.begin * kUnits; u < own.end * kUnits; u += L)
          store(state.carry + r * carry_stride + u,
                from && u < p.H ? load_n<A>(from + team.batch[r] * p.H + u, p.H - u) : Vec<A>{});
    }
  }

  void project_input(const Team& team, Range own, int64_t begin, int64_t end, int64_t rows) {
    const Weights& w = weights[team.direction];
    int64_t row = 0;
    for (int64_t s = begin; s < end; s++) {
      int64_t t = time(team, s);
      for (int64_t r = 0; r < team.active[t]; r++, row++)
        copy_row<Op>(x + row * x_stride, row_of<const S>(p, p.x, t, team.batch[r]), p.I, round_up(p.I, 2));
    }
    for (int64_t i = own.begin; i < own.end; i++) {
      const A* bias = w.bias + i * kColumns;
      A* panel = gates + (i - own.begin) * kColumns;
      for_row_tiles<NV>(rows, [&](int64_t r, int count) {
        w.input_product(p, p.direction[team.direction], i, count, x + r * x_stride, x_stride,
                        bias + Cell::kInputSlot * kUnits, 0,
                        panel + r * gates_stride + Cell::kInputSlot * kUnits, gates_stride);
        if constexpr (Cell::kSlots > Cell::kGates)  // the slot that the input product does not fill
          for (int j = 0; j < count; j++)
            for (int u = Cell::kGates * kUnits; u < kColumns; u += L)
              store(panel + (r + j) * gates_stride + u, load<A>(bias + u));
      });
    }
  }

  void step(const Team& team, State& state, Range own, int64_t t, int now, A* step_gates) {
    const Weights& w = weights[team.direction];
    const Storage* h = state.h[now];
    for (int64_t i = own.begin; i < own.end; i++) {
      A* panel = step_gates + (i - own.begin) * kColumns;
      for_row_tiles<NV>(team.active[t], [&](int64_t r, int count) {
        A* c = panel + r * gates_stride + Cell::kHiddenSlot * kUnits;
        w.hidden_product(p, p.direction[team.direction], i, count, h + r * h_stride, h_stride, c,
                         gates_stride);
        for (int j = 0; j < count; j++)
          gate_maths(team, state, t, now, r + j, i * kUnits, panel + (r + j) * gates_stride);
      });
    }
    meet();
    if (project_panels) {
      project_output(team, state, t, now);
      meet();
    }
  }

  // One row's kUnits units from `unit`.
  void gate_maths(const Team& team, State& state, int64_t t, int now, int64_t r, int64_t unit, const A* row) {
    const int d = team.direction;
    const int64_t b = team.batch[r], Hp = round_up(p.H, kWorkspaceAlign);
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
      store(h_next + unit, as_stored<S, A>(h));
      if (!state.m) store_n(y + unit, h, p.H - unit);
    }
  }

  // Where c before step t is kept for recomputation, if t is the first step of a span of `checkpoint_every`.
  A* checkpoint_row(int d, int64_t t, int64_t b, int64_t Hp) const {
    if (Cell::kCarry != Carry::cell || !p.workspace || !p.checkpoint_every) return nullptr;
    int64_t span = t / p.checkpoint_every, spans = ceil_div(p.T, p.checkpoint_every);
    int64_t first = d == 0 ? span * p.checkpoint_every : (span + 1) * p.checkpoint_every - 1;
    return t == first ? (A*)p.workspace + ((d * spans + span) * p.B + b) * Hp : nullptr;
  }

  void project_output(const Team& team, State& state, int64_t t, int now) {
    const int d = team.direction;
    constexpr int E = Op::kPerElement;
    const Range own = partition(project_panels, plan.members, member);
    for (int64_t i = own.begin; i < own.end; i++)
      for_row_tiles<kProjectVectors>(team.active[t], [&](int64_t r, int count) {
        alignas(64) A c[max_rows(kProjectVectors) * kProjectColumns];
        run_tile<Op, kProjectVectors>(
            count, {elements<Op>(p.H), (const Element*)(state.m + r * m_stride), m_stride / E, 1,
                    projection[d] + i * elements<Op>(p.H) * kProjectColumns, nullptr, 0, c, kProjectColumns});
        for (int j = 0; j < count; j++) {
          S* y = row_of<S>(p, p.y, t, team.batch[r + j]) + d * p.P;
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
  }

  void finish(const Team& team, State& state, Range own) {  // after a barrier: the whole output row is there
    const int d = team.direction;
    const Direction& w = p.direction[d];
    Range mine = partition(team.rows, plan.members, member);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      int64_t b = team.batch[r], length = plan.last[b];
      const S* h = length ? row_of<S>(p, p.y, d == 0 ? length - 1 : 0, b) + d * p.P
                   : w.h0 ? (const S*)w.h0 + b * p.P
                          : nullptr;
      S* h_n = (S*)w.h_n + b * p.P;
      for (int64_t i = 0; i < p.P; i++) h_n[i] = h ? h[i] : 0;
    }
    if constexpr (Cell::kCarry == Carry::cell)
      for (int64_t r = 0; r < team.rows; r++)
        for (int64_t u = own.begin * kUnits; u < min(own.end * kUnits, p.H); u += L)
          store_n((S*)w.c_n + team.batch[r] * p.H + u, load<A>(state.carry + r * carry_stride + u), p.H - u);
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
