// The forward pass: for each step the cell, the query, then the source, with a barrier after each.
//
// Threads divide the units of the cell and the features of the query, so that each reads a part of the
// weights, and then the rows of the batch, whose keys and values they read once a step. Every number is made
// by one thread in one order: the bits do not depend on how many there are.
//
// 2 B (G H (H + V) + A H + S (A + V)) operations a step; bytes: the weights, once a step, keys and values.
#pragma once
#include "common/barrier.h"
#include "decoder/cpu/operands.h"
#include "decoder/cpu/source.h"

namespace pyrnn::decoder {
namespace {

using recurrent::Carry;

template <class Cell, class S, class Op>
class Forward {
  using A = typename Op::Acc;
  using Storage = typename Op::Storage;
  using Weights = recurrent::ForwardWeights<Cell, S, Op>;
  static constexpr int L = kLanes<A>, kUnits = Weights::kUnits, kColumns = Weights::kColumns;
  static constexpr int64_t kMostRows = max(kFewRows, max_rows(Weights::NV));

  const Problem& p;
  const Plan& plan;
  const int thread;
  const recurrent::Problem layer;
  int64_t epoch = 0, Hp, h_stride, context_stride, carry_stride;
  Weights weights;
  ForwardProduct<S, Op> query_product;
  Source<S, A> source;
  Storage* h[2];     // [B][h_stride] what the products read: of this step, and of the next
  Storage* context;  // [B][context_stride]
  A* carry;          // [B][carry_stride]
  A* queries;        // [T or 1][B][A], by place in the batch: those that training keeps, or of one step
  A* alignment;      // [B][source.padded]
  A *scores, *row;   // private: [S]; [max(A, V)]

 public:
  Forward(const Problem& problem, const Plan& the_plan, int the_thread)
      : p(problem),
        plan(the_plan),
        thread(the_thread),
        layer(with_packed(problem, the_plan)),
        source(problem) {}

  size_t layout(char* base) {
    Scratch s{base};
    Hp = round_up(p.H, recurrent::kWorkspaceAlign);
    carry_stride = Weights::panels(layer) * kUnits;
    h_stride = operand_stride(max(p.H, carry_stride)), context_stride = operand_stride(p.V);
    weights.layout(s, layer, 0, plan.threads, thread);
    // Packing pays for many steps alone; nor is a scope's result to depend on how many there are.
    query_product.layout(s, p.weight_query, p.A, p.H, Weights::in_place(layer) || plan.packed);
    source.layout(s);
    for (Storage*& each : h) each = s.take<Storage>(p.B * h_stride);
    context = s.take<Storage>(p.B * context_stride);
    carry = s.take<A>(Cell::kCarry == Carry::none ? 0 : p.B * carry_stride);
    queries = s.take<A>(p.weight_query && !p.queries ? p.B * p.A : 0);
    if (p.queries) queries = (A*)p.queries;
    alignment = s.take<A>(p.B * source.padded);
    for (int i = 0; i < plan.threads; i++) {
      A *scores_i = s.take<A>(p.S), *row_i = s.take<A>(max(p.A, p.V));
      if (i == thread) scores = scores_i, row = row_i;
    }
    return s.used;
  }

  void run() {
    Range mine = partition(plan.packed ? 0 : Weights::panels(layer), plan.threads, thread);
    for (int64_t i = mine.begin; i < mine.end; i++) weights.pack(layer, layer.direction[0], i);
    query_product.pack(plan.threads, thread);
    if (thread == 0) source.prepare();
    mine = partition(p.B, plan.threads, thread);
    for (int64_t r = mine.begin; r < mine.end; r++) load_states(r);
    wait();
    for (int64_t t = 0; t < plan.steps; t++) {
      update_cells(t);
      wait();
      if (p.weight_query) make_queries(t), wait();
      mine = partition(plan.active[t], plan.threads, thread);
      for (int64_t r = mine.begin; r < mine.end; r++) attend(t, r);
      wait();
    }
    mine = partition(p.B, plan.threads, thread);
    for (int64_t r = mine.begin; r < mine.end; r++) store_states(r);
  }

 private:
  static recurrent::Problem with_packed(const Problem& p, const Plan& plan) {
    recurrent::Problem found = as_layer(p);
    found.packed[0] = plan.packed;
    return found;
  }

  void wait() { barrier(plan.flags, plan.threads, thread, epoch); }

  void load_states(int64_t r) {
    const int64_t b = plan.batch[r];
    const S* h_0 = (const S*)p.h_0 + b * p.H;
    for (Storage* each : h) copy_row<Op>(each + r * h_stride, h_0, p.H, h_stride);
    copy_row<Op>(context + r * context_stride, (const S*)p.context_0 + b * p.V, p.V, context_stride);
    source.load_alignment(p.alignment_0 ? (const S*)p.alignment_0 + b * p.S : nullptr, b,
                          alignment + r * source.padded);
    if constexpr (Cell::kCarry != Carry::none) {
      const S* from = Cell::kCarry == Carry::cell ? (const S*)p.c_0 + b * p.H : h_0;
      for (int64_t u = 0; u < carry_stride; u += L)
        store(carry + r * carry_stride + u, u < p.H ? load_n<A>(from + u, p.H - u) : Vec<A>{});
    }
  }

  void store_states(int64_t r) {
    const int64_t b = plan.batch[r];
    for (int64_t u = 0; u < p.H; u += L) {
      // Without a step both operands hold h_0; else the last step of the row wrote to one of them.
      store_n((S*)p.h_n + b * p.H + u, load<A>(h[steps_of(r) % 2] + r * h_stride + u), p.H - u);
      if constexpr (Cell::kCarry == Carry::cell)
        store_n((S*)p.c_n + b * p.H + u, load<A>(carry + r * carry_stride + u), p.H - u);
    }
    const A* from = alignment + r * source.padded + p.W / 2;
    for (int64_t s = 0; s < p.S; s += L)
      store_n((S*)p.alignment_n + b * p.S + s, load_n<A>(from + s, p.S - s), p.S - s);
  }
  int64_t steps_of(int64_t r) const { return p.lengths ? p.lengths[plan.batch[r]] : p.T; }

  // ---- the cell

  void update_cells(int64_t t) {
    const auto& w = layer.direction[0];
    const Range own = partition(Weights::panels(layer), plan.threads, thread);
    for (int64_t i = own.begin; i < own.end; i++) {
      if (p.weight_context) weights.prepare_input(layer, w, i);
      weights.prepare_hidden(layer, w, i);
      Weights::for_tiles(layer, plan.active[t], [&](int64_t r, int count) {
        alignas(64) A gates[kMostRows * kColumns];
        A *input = gates + Cell::kInputSlot * kUnits, *hidden = gates + Cell::kHiddenSlot * kUnits;
        for (int j = 0; j < count; j++) load_input(t, r + j, i, gates + j * kColumns);
        if (p.weight_context)
          weights.input_product(layer, w, i, count, context + r * context_stride, context_stride, input,
                                kColumns, input, kColumns);
        weights.hidden_product(layer, w, i, count, h[t % 2] + r * h_stride, h_stride, hidden, kColumns);
        for (int j = 0; j < count; j++) update_cell(t, r + j, i * kUnits, gates + j * kColumns);
      });
    }
  }

  // The biases, and the input's part in its slots.
  void load_input(int64_t t, int64_t r, int64_t panel, A* gates) const {
    const A* bias = weights.bias + panel * kColumns;
    for (int c = 0; c < kColumns; c += L) store(gates + c, load<A>(bias + c));
    const S* x = (const S*)p.x.data + t * p.x.t + plan.batch[r] * p.x.b;
    for (int g = 0; g < Cell::kGates; g++)
      for (int64_t v = 0, unit = panel * kUnits; v < Cell::kWidth && unit < p.H; v++, unit += L) {
        A* to = gates + (Cell::kInputSlot + g) * kUnits + v * L;
        store(to, load<A>(to) + load_n<A>(x + Cell::input_gate(g) * p.H + unit, p.H - unit));
      }
  }

  // One row's kUnits units from `unit`.
  void update_cell(int64_t t, int64_t r, int64_t unit, const A* gates) {
    const int64_t token = t * p.B + plan.batch[r];
    A* saved = p.gates ? (A*)p.gates + token * Cell::kSaved * Hp : nullptr;
    for (int v = 0; v < Cell::kWidth && unit < p.H; v++, unit += L) {
      Vec<A> slot[Cell::kSlots], state{};
      for (int s = 0; s < Cell::kSlots; s++) slot[s] = load<A>(gates + s * kUnits + v * L);
      if constexpr (Cell::kCarry != Carry::none) state = load<A>(carry + r * carry_stride + unit);
      const Vec<A> found = Cell::template forward<VectorMath>(slot, state);
      if constexpr (Cell::kCarry != Carry::none) store(carry + r * carry_stride + unit, state);
      if (saved) {
        for (int s = 0; s < Cell::kSlots; s++) store(saved + s * Hp + unit, slot[s]);
        if constexpr (Cell::kSaved > Cell::kSlots) store(saved + Cell::kSlots * Hp + unit, state);
      }
      // Padding may be no number, and the last pair of an odd H takes one of it into the product.
      store(h[(t + 1) % 2] + r * h_stride + unit, first_lanes<A>(as_stored<S, A>(found), p.H - unit));
      store_n((S*)p.output + token * p.H + unit, found, p.H - unit);
    }
  }

  // ---- query and source

  A* query_of(int64_t t, int64_t b) const { return queries + ((p.queries ? t * p.B : 0) + b) * p.A; }

  void make_queries(int64_t t) {
    const Range own = partition(query_product.panels(), plan.threads, thread);
    for (int64_t i = own.begin; i < own.end; i++)
      query_product.multiply(i, plan.active[t], h[(t + 1) % 2], h_stride,
                             [&](int64_t r, int64_t column, Vec<A> sums) {
                               store_n(query_of(t, plan.batch[r]) + column, sums, p.A - column);
                             });
  }

  void attend(int64_t t, int64_t r) {
    const int64_t b = plan.batch[r], token = t * p.B + b, n = source.length(b);
    const A* q = row;
    if (p.weight_query)
      q = query_of(t, b);
    else
      for (int64_t i = 0; i < p.A; i += L)
        store_n(row + i, load<A>(h[(t + 1) % 2] + r * h_stride + i), p.A - i);
    A *seen = alignment + r * source.padded, *own = seen + p.W / 2;
    source.scores(b, q, seen, scores);
    source.softmax(b, scores);
    S* weights_row = (S*)p.weights + token * p.S;
    for (int64_t s = 0; s < p.S; s += L) {
      // As rounded as the caller sees them, so that the next step may begin a call.
      const Vec<A> w = s < n ? as_stored<S, A>(load_n<A>(scores + s, n - s)) : Vec<A>{};
      if (s < n) store_n(scores + s, w, n - s);
      store_n(weights_row + s, w, p.S - s);
      store_n(own + s, p.cumulative ? load_n<A>(own + s, p.S - s) + w : w, p.S - s);
    }
    source.context(b, scores, row);
    S* context_row = (S*)p.context + token * p.V;
    for (int64_t i = 0; i < p.V; i += L) store_n(context_row + i, load_n<A>(row + i, p.V - i), p.V - i);
    copy_row<Op>(context + r * context_stride, context_row, p.V, context_stride);
  }
};

}  // namespace
}  // namespace pyrnn::decoder
