// The large products of the backward pass, over all tokens, by all threads together.
//
//   d_W_hh = d_gates^T h_{t-1}    d_b_hh = column sums of d_gates    d_W_ctx = d_gates^T m_{t-1}
//   d_W_q = d_q^T h_t             d_v_s = sum_t w_ts d_m_t           d_k_s = sum_t d_e_ts q_t, of dot
//   products
//
// The additive score has its gradients of keys, score weight and filter from the steps; here the rows' parts
// of the latter two are added up.
#pragma once
#include "common/outer_product.h"
#include "decoder/cpu/operands.h"
#include "decoder/cpu/source.h"

namespace pyrnn::decoder {
namespace {

template <class Cell, class S, class Op>
struct Gradients {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  using Outer = OuterProduct<S, Op>;
  using Plain = PlainOperand<A>;
  static constexpr int L = kLanes<A>, kVectors = Outer::kVectors, kColumns = Outer::kColumns;
  static constexpr int64_t kSegment = 512;  // tokens: C is read once for each

  // A product's right operand and its sums: the caller's own array, if that is of type A.
  struct Weight {
    Element* panels;  // [ceil(n / kColumns)][kSegment][kColumns]
    A* sums;
    S* final;  // null: not wanted
    int64_t n;
  };

  const Problem& p;
  const Plan& plan;
  const Source<S, A>& source;
  const int thread;
  int64_t unit_stride, gate_stride, query_stride, context_stride, segment;
  Storage *d_gates, *d_queries;  // [tokens][gate_stride], slots of unit_stride; [tokens][query_stride]
  A* d_contexts;                 // [tokens][context_stride]
  A *queries, *d_scores;         // [tokens][A], [tokens][S], for the keys of dot products; else null
  A* d_keys;                     // [S][B][A] of the additive score; null: not wanted
  A *d_score_weight, *d_filter;  // [B][source.stride], [B][W][source.stride]
  Weight hidden, context, query;
  A* d_bias;         // [kSlots][unit_stride]
  Element* left;     // private
  A *panel, *steps;  // private: [T][kColumns], [T][S]

  Gradients(const Problem& problem, const Plan& the_plan, const Source<S, A>& the_source, int the_thread)
      : p(problem), plan(the_plan), source(the_source), thread(the_thread) {}

  void layout(Scratch& s) {
    unit_stride = round_up(p.H, kColumns), gate_stride = Cell::kSlots * unit_stride + 32;
    query_stride = operand_stride(p.A), context_stride = round_up(p.V, L);
    segment = min(kSegment, max(plan.tokens, 1));
    d_gates = s.take<Storage>(plan.tokens * gate_stride);
    d_queries = s.take<Storage>(plan.tokens * query_stride);
    d_contexts = s.take<A>(plan.tokens * context_stride);
    const bool of_products = p.d_keys && !p.score_weight;
    queries = s.take<A>(of_products ? plan.tokens * p.A : 0);
    d_scores = s.take<A>(of_products ? plan.tokens * p.S : 0);
    const bool additive_keys = p.d_keys && p.score_weight;
    d_keys = s.take<A>(additive_keys && !kSame<S, A> ? p.S * p.B * p.A : 0);
    if (additive_keys && kSame<S, A>) d_keys = (A*)p.d_keys;
    d_score_weight = s.take<A>(p.score_weight ? p.B * source.stride : 0);
    d_filter = s.take<A>(p.B * p.W * source.stride);
    hidden = take(s, p.d_weight_hh, Cell::kGates * p.H, p.H);
    context = take(s, p.d_weight_context, Cell::kGates * p.H, p.V);
    query = take(s, p.d_weight_query, p.A, p.H);
    d_bias = s.take<A>(Cell::kSlots * unit_stride);
    for (int i = 0; i < plan.threads; i++) {
      Element* left_i = s.take<Element>(elements<Op>(segment) * Outer::kBlock);
      A *panel_i = s.take<A>(plan.steps * kColumns), *steps_i = s.take<A>(plan.steps * p.S);
      if (i == thread) left = left_i, panel = panel_i, steps = steps_i;
    }
  }

  // Zeros where the steps add; a part of the rows each.
  void clear() const {
    const Range mine = partition(p.B, plan.threads, thread);
    const auto zero = [&](A* of_row, int64_t n) {
      for (int64_t i = 0; of_row && i < n; i++) of_row[i] = 0;
    };
    for (int64_t r = mine.begin; r < mine.end; r++) {
      if (p.score_weight) zero(d_score_weight + r * source.stride, source.stride);
      zero(d_filter + r * p.W * source.stride, p.W * source.stride);
      for (int64_t s = 0; d_keys && s < p.S; s++) zero(d_keys + (s * p.B + r) * p.A, p.A);
    }
    if (thread == 0) zero(d_bias, Cell::kSlots * unit_stride);
  }

  // One row's step: what the products will read of it.
  void keep(int64_t token, int64_t n, const A* q, const A* d_e, const A* d_q) const {
    copy_row<Op>(d_queries + token * query_stride, d_q, p.A, query_stride);
    for (int64_t i = 0; queries && i < p.A; i++) queries[token * p.A + i] = q[i];
    for (int64_t s = 0; d_scores && s < n; s++) d_scores[token * p.S + s] = d_e[s];
  }

  const S* hidden_before(int64_t t, int64_t b) const {
    return t ? (const S*)p.output + ((t - 1) * p.B + b) * p.H : (const S*)p.h_0 + b * p.H;
  }

  template <class Wait>
  void run(Wait wait) const {
    for (int64_t begin = 0; begin == 0 || begin < plan.tokens; begin += segment) {
      const int64_t end = min(begin + segment, plan.tokens);
      pack(hidden, begin, end, [&](int64_t t, int64_t b) { return hidden_before(t, b); });
      pack(context, begin, end, [&](int64_t t, int64_t b) {
        return t ? (const S*)p.context + ((t - 1) * p.B + b) * p.V : (const S*)p.context_0 + b * p.V;
      });
      pack(query, begin, end, [&](int64_t t, int64_t b) { return (const S*)p.output + (t * p.B + b) * p.H; });
      wait();
      multiply(begin, end);
      wait();
    }
    const Range mine = partition(p.B, plan.threads, thread);
    for (int64_t r = mine.begin; r < mine.end; r++) add_source(r);
    add_rows();
  }

 private:
  Weight take(Scratch& s, void* final, int64_t rows, int64_t n) const {
    const int64_t panels = final ? ceil_div(n, kColumns) : 0;
    Weight weight{s.take<Element>(panels * elements<Op>(segment) * kColumns), nullptr, (S*) final, n};
    weight.sums = kSame<S, A> ? (A*) final : s.take<A>(final ? rows * n : 0);
    return weight;
  }

  template <class Row>
  void pack(const Weight& w, int64_t begin, int64_t end, Row row) const {
    const Range mine = partition(w.final ? ceil_div(w.n, kColumns) : 0, plan.threads, thread);
    for (int64_t i = mine.begin; i < mine.end; i++)
      pack_from_rows<Op, kVectors, S>(
          w.panels + i * elements<Op>(segment) * kColumns, end - begin, w.n - i * kColumns,
          [&](int64_t k) { return row(plan.token_t[begin + k], plan.token_b[begin + k]) + i * kColumns; });
  }

  // Blocks of rows of the results go to the threads in turn.
  void multiply(int64_t begin, int64_t end) const {
    const Outer outer{left, elements<Op>(segment) * kColumns};
    const int64_t K = end - begin;
    const bool first = begin == 0, last = end == plan.tokens;
    int64_t turn = 0;
    const auto blocks = [&](int64_t rows, auto block) {  // block(first row, count) of those that are mine
      const int64_t count = ceil_div(rows, Outer::kBlock);
      for (int64_t i = 0; i < count; i++)
        if (turn++ % plan.threads == thread)
          block(rows * i / count, rows * (i + 1) / count - rows * i / count);
    };
    const auto to = [&](const Weight& w, int64_t row, int64_t count) {
      if (w.final) outer.multiply(w.panels, K, row, count, w.n, w.sums, w.final, first, last);
    };
    const bool of_gates = hidden.final || context.final || p.d_bias_hh;
    for (int slot = 0; of_gates && slot < Cell::kSlots; slot++)
      blocks(p.H, [&](int64_t unit, int64_t count) {
        const int in = slot - Cell::kInputGradSlot, own = slot - Cell::kHiddenGradSlot;
        A* sums = d_bias + slot * unit_stride + unit;
        outer.pack_left(d_gates + begin * gate_stride + slot * unit_stride + unit, gate_stride, K, count,
                        sums);
        if (in >= 0 && in < Cell::kGates) to(context, Cell::input_grad_gate(in) * p.H + unit, count);
        if (own < 0 || own >= Cell::kGates) return;
        const int64_t row = Cell::hidden_grad_gate(own) * p.H + unit;
        to(hidden, row, count);
        if (last && p.d_bias_hh) Outer::write(sums, (S*)p.d_bias_hh + row, count);
      });
    if (query.final)
      blocks(p.A, [&](int64_t row, int64_t count) {
        A unused[Outer::kBlock] = {};
        outer.pack_left(d_queries + begin * query_stride + row, query_stride, K, count, unused);
        to(query, row, count);
      });
  }

  // Gradients of one row's values, and of its keys.
  void add_source(int64_t r) const {
    const int64_t b = plan.batch[r];
    int64_t length = 0;
    while (length < plan.steps && plan.active[length] > r) length++;
    const auto token = [&](int64_t t) { return plan.first[t] + r; };
    const auto row_of_values = [&](int64_t t) { return d_contexts + token(t) * context_stride; };
    if (p.d_values) {
      for (int64_t t = 0; t < length; t++)
        for (int64_t s = 0; s < p.S; s++)
          steps[t * p.S + s] = number<A>((const S*)p.weights + (t * p.B + b) * p.S + s);
      multiply_steps(b, length, p.V, row_of_values, (S*)p.d_values);
    }
    if (p.d_keys && !p.score_weight) {
      for (int64_t t = 0; t < length; t++)
        for (int64_t s = 0; s < source.length(b); s++) steps[t * p.S + s] = d_scores[token(t) * p.S + s];
      multiply_steps(b, length, p.A, [&](int64_t t) { return queries + token(t) * p.A; }, (S*)p.d_keys);
    }
    for (int64_t s = 0; !kSame<S, A> && d_keys && s < p.S; s++)
      Outer::write(d_keys + (s * p.B + b) * p.A, (S*)p.d_keys + (s * p.B + b) * p.A, p.A);
  }

  // to [S][B][n], of row b: steps^T [length][S] rows [length][n], zeros behind the source's length.
  template <class Row>
  void multiply_steps(int64_t b, int64_t length, int64_t n, Row row, S* to) const {
    const int64_t positions = source.length(b);
    for (int64_t i = 0; i < n; i += kColumns) {
      pack_from_rows<Plain, kVectors, A>(panel, length, n - i, [&](int64_t t) { return row(t) + i; });
      const auto write = [&](int64_t s, const A* sums) {
        for (int64_t c = 0; c < min(kColumns, n - i); c += L)
          store_n(to + (s * p.B + b) * n + i + c, sums ? load<A>(sums + c) : Vec<A>{}, n - i - c);
      };
      for_row_tiles<kVectors>(positions, [&](int64_t s, int count) {
        alignas(64) A c[max_rows(kVectors) * kColumns];
        run_tile<Plain, kVectors>(count, {length, steps + s, 1, p.S, panel, nullptr, 0, c, kColumns});
        for (int j = 0; j < count; j++) write(s + j, c + j * kColumns);
      });
      for (int64_t s = positions; s < p.S; s++) write(s, nullptr);
    }
  }

  // Those of score weight and filter, from all rows in order.
  void add_rows() const {
    const auto sum = [&](const A* first, int64_t step) {
      A total = 0;
      for (int64_t r = 0; r < p.B; r++) total += first[r * step];
      return total;
    };
    const Range mine = partition(p.A, plan.threads, thread);
    for (int64_t f = mine.begin; f < mine.end; f++) {
      A found[1] = {0};
      if (p.d_score_weight) {
        found[0] = sum(d_score_weight + f, source.stride);
        Outer::write(found, (S*)p.d_score_weight + f, 1);
      }
      for (int64_t j = 0; p.d_weight_location && j < p.W; j++) {
        found[0] = sum(d_filter + j * source.stride + f, p.W * source.stride);
        Outer::write(found, (S*)p.d_weight_location + f * p.W + j, 1);
      }
    }
  }
};

}  // namespace
}  // namespace pyrnn::decoder
