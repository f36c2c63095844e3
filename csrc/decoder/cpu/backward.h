// Back-propagation through the steps. For t = T .. 1, with a barrier after each of three parts:
//
//   d_m_t, and from it those of weights, scores, queries and alignment       rows of the batch
//   d_h_t += d_q W_q, then the cell's derivatives, d_gates                   units
//   d_h_{t-1} += d_gates W_hh     d_m_{t-1} = d_gates W_ctx                  units and features
//
// What does not run through time follows as large products (gradients.h). The tanh of the additive score is
// computed again: its values would take S times the memory of the queries. Every number is made by one
// thread in one order, whatever their number.
#pragma once
#include "common/barrier.h"
#include "decoder/cpu/gradients.h"

namespace pyrnn::decoder {
namespace {

template <class Cell, class S, class Op>
class Backward {
  using A = typename Op::Acc;
  using Storage = typename Op::Storage;
  using Carry = recurrent::Carry;
  using SavedState = recurrent::SavedState;
  using Gradients = decoder::Gradients<Cell, S, Op>;
  using Product = BackwardProduct<S, Op>;
  static constexpr int L = kLanes<A>, kColumns = Product::kColumns;

  const Problem& p;
  const Plan& plan;
  const int thread;
  int64_t epoch = 0, Hp, d_h_stride, d_context_stride;
  Source<S, A> source;
  Gradients m;
  Product hidden, context, query;  // W_hh, W_ctx, W_q
  A *d_h, *d_carry;                // [B][d_h_stride], [B][unit_stride]
  A* d_context;                    // [B][d_context_stride]
  A *alignments, *d_alignment;     // [tokens][source.padded] before each step; [B][source.padded]
  A *w, *d_w, *q, *d_q, *d_seen;   // private: [S], [S], [source.stride] twice, [source.padded][L]

 public:
  Backward(const Problem& problem, const Plan& the_plan, int the_thread)
      : p(problem),
        plan(the_plan),
        thread(the_thread),
        source(problem),
        m(problem, the_plan, source, the_thread) {}

  size_t layout(char* base) {
    Scratch s{base};
    Hp = round_up(p.H, recurrent::kWorkspaceAlign);
    const bool few = p.B <= kFewRows;
    source.layout(s);
    m.layout(s);
    hidden = {(const S*)p.weight_hh, Cell::hidden_grad_gate, p.H, Cell::kGates, p.H, m.unit_stride};
    context = {(const S*)p.weight_context, Cell::input_grad_gate, p.V, Cell::kGates, p.H, m.unit_stride};
    query = {(const S*)p.weight_query, [](int) { return 0; }, p.H, 1, p.A, round_up(p.A, 2)};
    hidden.layout(s, few), context.layout(s, few), query.layout(s, few);
    d_h_stride = m.unit_stride + 16, d_context_stride = context.panels() * kColumns + 16;
    d_h = s.take<A>(p.B * d_h_stride);
    d_carry = s.take<A>(Cell::kCarry == Carry::cell ? p.B * m.unit_stride : 0);
    d_context = s.take<A>(p.B * d_context_stride);
    alignments = s.take<A>(p.W ? plan.tokens * source.padded : 0);
    d_alignment = s.take<A>(p.B * source.padded);
    for (int i = 0; i < plan.threads; i++) {
      A *w_i = s.take<A>(p.S), *d_w_i = s.take<A>(p.S), *q_i = s.take<A>(source.stride);
      A *d_q_i = s.take<A>(source.stride), *d_seen_i = s.take<A>(p.W ? source.padded * L : 0);
      if (i == thread) w = w_i, d_w = d_w_i, q = q_i, d_q = d_q_i, d_seen = d_seen_i;
    }
    return s.used;
  }

  void run() {
    hidden.pack(plan.threads, thread), context.pack(plan.threads, thread);
    query.pack(plan.threads, thread);
    if (thread == 0) source.prepare();
    Range mine = partition(p.B, plan.threads, thread);
    for (int64_t r = mine.begin; r < mine.end; r++) {
      load_gradients(r);
      if (p.W) load_alignments(r);
    }
    m.clear();
    wait();
    for (int64_t t = plan.steps - 1; t >= 0; t--) {
      mine = partition(plan.active[t], plan.threads, thread);
      for (int64_t r = mine.begin; r < mine.end; r++) attend(t, r);
      wait();
      update_cells(t);
      wait();
      step_back(t);
      wait();
    }
    mine = partition(p.B, plan.threads, thread);
    for (int64_t r = mine.begin; r < mine.end; r++) store_gradients(r);
    m.run([&] { wait(); });
  }

 private:
  void wait() { barrier(plan.flags, plan.threads, thread, epoch); }

  static void load_row(const void* from, int64_t at, int64_t n, A* to, int64_t padded) {
    for (int64_t i = 0; i < padded; i++) to[i] = from && i < n ? number<A>((const S*)from + at + i) : A(0);
  }
  static void store_row(const A* from, void* to, int64_t at, int64_t n) {
    for (int64_t i = 0; to && i < n; i += L) store_n((S*)to + at + i, load_n<A>(from + i, n - i), n - i);
  }

  void load_gradients(int64_t r) {
    const int64_t b = plan.batch[r];
    load_row(p.g_h_n, b * p.H, p.H, d_h + r * d_h_stride, d_h_stride);
    if constexpr (Cell::kCarry == Carry::cell)
      load_row(p.g_c_n, b * p.H, p.H, d_carry + r * m.unit_stride, m.unit_stride);
    load_row(nullptr, 0, 0, d_context + r * d_context_stride, d_context_stride);
    source.load_alignment(p.g_alignment_n ? (const S*)p.g_alignment_n + b * p.S : nullptr, b,
                          d_alignment + r * source.padded);
  }
  void store_gradients(int64_t r) {
    const int64_t b = plan.batch[r];
    store_row(d_h + r * d_h_stride, p.d_h_0, b * p.H, p.H);
    if constexpr (Cell::kCarry == Carry::cell) store_row(d_carry + r * m.unit_stride, p.d_c_0, b * p.H, p.H);
    store_row(d_context + r * d_context_stride, p.d_context_0, b * p.V, p.V);
    store_row(d_alignment + r * source.padded + p.W / 2, p.d_alignment_0, b * p.S, p.S);
  }

  // What the filter saw in each step of a row.
  void load_alignments(int64_t r) {
    const int64_t b = plan.batch[r], half = p.W / 2;
    const A* before = nullptr;
    for (int64_t t = 0; t < plan.steps && r < plan.active[t]; t++) {
      A* to = alignments + (plan.first[t] + r) * source.padded;
      if (t == 0) {
        source.load_alignment(p.alignment_0 ? (const S*)p.alignment_0 + b * p.S : nullptr, b, to);
      } else {
        source.load_alignment((const S*)p.weights + ((t - 1) * p.B + b) * p.S, b, to);
        for (int64_t s = half; p.cumulative && s < half + p.S; s++) to[s] += before[s];
      }
      before = to;
    }
  }

  // ---- the source

  void attend(int64_t t, int64_t r) {
    const int64_t b = plan.batch[r], at = t * p.B + b, token = plan.first[t] + r, n = source.length(b);
    A* d_m = m.d_contexts + token * m.context_stride;
    for (int64_t i = 0; i < p.V; i += L) {
      Vec<A> sum = load<A>(d_context + r * d_context_stride + i);
      if (p.g_context) sum += load_n<A>((const S*)p.g_context + at * p.V + i, p.V - i);
      store_n(d_m + i, sum, p.V - i);
    }
    A *d_row = d_alignment + r * source.padded, *d_own = d_row + p.W / 2;
    for (int64_t s = 0; s < n; s++) {
      w[s] = number<A>((const S*)p.weights + at * p.S + s);
      d_w[s] = d_own[s] + (p.g_weights ? number<A>((const S*)p.g_weights + at * p.S + s) : A(0));
    }
    source.add_weight_gradients(b, d_m, d_w);
    source.score_gradients(b, w, d_w);
    for (int64_t i = 0; !p.cumulative && i < source.padded; i++) d_row[i] = 0;
    const A* queries = (const A*)p.queries + at * p.A;
    for (int64_t i = 0; i < p.A; i++)
      q[i] = p.weight_query ? queries[i] : number<A>((const S*)p.output + at * p.H + i);
    if (p.score_weight)
      attend_additively(r, b, token, d_row);
    else
      source.query_gradient(b, d_w, d_q);
    m.keep(token, n, q, d_w, d_q);
  }

  void attend_additively(int64_t r, int64_t b, int64_t token, A* d_row) {
    for (int64_t i = 0; p.W && i < source.padded * L; i++) d_seen[i] = 0;
    source.additive_gradients(
        b, q, alignments + (p.W ? token * source.padded : 0), d_w,
        {d_q, m.d_keys ? m.d_keys + b * p.A : nullptr, p.B * p.A, m.d_score_weight + r * source.stride,
         m.d_filter + r * p.W * source.stride, d_seen});
    const int64_t half = p.W / 2;
    for (int64_t i = half; p.W && i < half + source.length(b); i++) {  // nothing lies outside
      A sum = 0;
      for (int l = 0; l < L; l++) sum += d_seen[i * L + l];
      d_row[i] += sum;
    }
  }

  // ---- the cell

  void update_cells(int64_t t) {
    const Range own = partition(hidden.panels(), plan.threads, thread);
    const int64_t rows = plan.active[t], first = plan.first[t];
    if (p.weight_query)
      query.add(own, rows, m.d_queries + first * m.query_stride, m.query_stride, d_h, d_h_stride);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t u = own.begin * kColumns; u < own.end * kColumns; u += L) update_cell(t, r, first + r, u);
  }

  // One row's units of a vector from `u`; padding gets zeros.
  void update_cell(int64_t t, int64_t r, int64_t token, int64_t u) {
    const int64_t b = plan.batch[r], at = t * p.B + b, left = p.H - u;
    const A* saved = (const A*)p.gates + at * Cell::kSaved * Hp;
    // What was saved of padding may be no number.
    const auto kept = [&](const A* from) { return first_lanes<A>(load<A>(from + u), left); };
    const bool real = left > 0;
    Vec<A> slot[Cell::kSlots], d_slot[Cell::kSlots], previous{}, current{}, d_state{}, d_before;
    for (int s = 0; s < Cell::kSlots; s++) slot[s] = Cell::kSaved && real ? kept(saved + s * Hp) : Vec<A>{};
    if (real && Cell::kSavedState == SavedState::current_hidden)
      current = load_n<A>((const S*)p.output + at * p.H + u, left);
    if (real && Cell::kSavedState == SavedState::previous_hidden)
      previous = load_n<A>(m.hidden_before(t, b) + u, left);
    if constexpr (Cell::kSavedState == SavedState::cell) {
      if (real) current = kept(saved + Cell::kSlots * Hp);
      if (real)
        previous = t ? kept((const A*)p.gates + ((at - p.B) * Cell::kSaved + Cell::kSlots) * Hp)
                     : load_n<A>((const S*)p.c_0 + b * p.H + u, left);
      d_state = load<A>(d_carry + r * m.unit_stride + u);
    }
    A* d_row = d_h + r * d_h_stride + u;
    Vec<A> d = load<A>(d_row);
    if (real && !p.weight_query) d += load_n<A>(m.d_queries + token * m.query_stride + u, left);
    if (real && p.g_output) d += load_n<A>((const S*)p.g_output + at * p.H + u, left);
    Cell::template backward<VectorMath>(slot, previous, current, d, d_state, d_slot, d_before);
    Storage* d_gates = m.d_gates + token * m.gate_stride + u;
    for (int s = 0; s < Cell::kSlots; s++) store(d_gates + s * m.unit_stride, d_slot[s]);
    S* d_x = (S*)p.d_x + at * Cell::kGates * p.H + u;
    for (int g = 0; real && p.d_x && g < Cell::kGates; g++)
      store_n(d_x + Cell::input_grad_gate(g) * p.H, d_slot[Cell::kInputGradSlot + g], left);
    if constexpr (Cell::kCarry == Carry::cell) store(d_carry + r * m.unit_stride + u, d_state);
    store(d_row, d_before);
  }

  void step_back(int64_t t) {
    const int64_t rows = plan.active[t];
    const Storage* d_gates = m.d_gates + plan.first[t] * m.gate_stride;
    if (t || p.d_h_0)
      hidden.add(partition(hidden.panels(), plan.threads, thread), rows,
                 d_gates + Cell::kHiddenGradSlot * m.unit_stride, m.gate_stride, d_h, d_h_stride);
    if (!p.weight_context || (t == 0 && !p.d_context_0)) return;
    const Range own = partition(context.panels(), plan.threads, thread);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = own.begin * kColumns; i < own.end * kColumns; i += L)
        store(d_context + r * d_context_stride + i, Vec<A>{});
    context.add(own, rows, d_gates + Cell::kInputGradSlot * m.unit_stride, m.gate_stride, d_context,
                d_context_stride);
  }
};

}  // namespace
}  // namespace pyrnn::decoder
