// The weights themselves, for callers who want to see them: from the stored log-sum-exp, one more product q.k
// and no product with values. A task is one panel of queries of a head, or of all heads where their mean is
// wanted.
#pragma once
#include "forward.h"

namespace pyrnn {
namespace {

template <class S, class Op>
struct Weights {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  static constexpr int L = kLanes<A>, kMostW = kPanelVectors * L;

  const AttentionProblem& p;
  Panels<A> panels;
  Dropout<A> dropout;
  bool mean;
  Rows<S, Op> k;
  Element* queries;
  A *block, *bias, *factors, *sum;

  explicit Weights(const AttentionProblem& problem)
      : p(problem), panels(problem.T), dropout(problem), mean(problem.weights_kind == kMeanWeights) {}

  int64_t tasks() const { return p.weights_kind == kNoWeights ? 0 : p.B * (mean ? 1 : p.H) * panels.count; }

  size_t layout(char* base) {
    Scratch s{base};
    k.layout(s, p.S, p.D, p.k.row, false);
    queries = s.take<Element>(elements<Op>(p.D) * kMostW);
    block = s.take<A>(kBlockKeys * kMostW);
    bias = s.take<A>(p.mask_kind == kNoMask ? 0 : kBlockKeys * kMostW);
    factors = s.take<A>(dropout.active ? kBlockKeys * kMostW : 0);
    sum = s.take<A>(mean ? p.S * kMostW : 0);
    return s.used;
  }

  void run(int64_t task) {
    const int64_t panel = task % panels.count, head = task / panels.count;
    const int64_t b = mean ? head : head / p.H, first = mean ? 0 : head % p.H, last = mean ? p.H : first + 1;
    with_vectors<kPanelVectors>(panels.width(panel), [&](auto nv) {
      this->template run_panel<decltype(nv)::value>(b, first, last, panels.first(panel));
    });
  }

 private:
  template <int NV>
  void run_panel(int64_t b, int64_t first, int64_t last, int64_t t0) {
    const Scores& w = p.weights;
    S* rows = (S*)w.data + b * w.batch + (mean ? 0 : first * w.head) + t0 * w.query;
    if (!mean) return add_head<NV>(Panel<S, A, NV>(p, b, first, t0, bias), rows);
    for (int64_t i = 0; i < p.S * NV; i++) store(sum + i * L, Vec<A>{});
    for (int64_t h = first; h < last; h++) add_head<NV>(Panel<S, A, NV>(p, b, h, t0, bias), rows);
    Vec<A> share[NV];
    for (int i = 0; i < NV; i++) share[i] = splat<A>(A(1) / A(p.H));
    store_transposed<S, A, NV>(sum, p.S, share, smaller(NV * L, p.T - t0), rows, w.query);
  }

  // The weights of one head: added to `sum` for the mean, else written to `rows`.
  template <int NV>
  void add_head(const Panel<S, A, NV>& panel, S* rows) {
    constexpr int W = NV * L;
    k.load_head(p.k, panel.b, panel.h / (p.H / p.K), keys_of(p, panel.b));
    const S* q = (const S*)p.q.data + panel.b * p.q.batch + panel.h * p.q.head + panel.t0 * p.q.row;
    pack_from_columns<Op, NV, S>(
        queries, p.D, [&](int c) -> const S* { return c < panel.valid ? q + c * p.q.row : nullptr; });
    if (!mean) write_zeros(panel.valid, 0, panel.keys.begin, rows);
    if (!mean) write_zeros(panel.valid, panel.keys.end, p.S, rows);
    Vec<A> lse[NV];
    panel.load_lse(lse);
    for (int64_t j0 = panel.keys.begin; j0 < panel.keys.end; j0 += kBlockKeys) {
      const int64_t n = smaller(kBlockKeys, panel.keys.end - j0);
      if (!panel.prepare(j0, n)) {
        if (!mean) write_zeros(panel.valid, j0, j0 + n, rows);
        continue;
      }
      k.template times<NV>(j0, n, queries, block);
      panel.finish(j0, n, block);
      if (dropout.active) dropout.template factors<NV>(p, panel.b, panel.h, panel.t0, j0, n, factors);
      for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < NV; i++) {
          const int64_t at = (j * NV + i) * L;
          Vec<A> w = exp2(load<A>(block + at) - lse[i]);
          if (dropout.active) w *= load<A>(factors + at);
          A* to = mean ? sum + j0 * W + at : block + at;
          store(to, mean ? load<A>(to) + w : w);
        }
      if (!mean) store_transposed_block<S, A, NV>(block, n, panel.valid, rows + j0, p.weights.query);
    }
  }

  void write_zeros(int64_t queries, int64_t begin, int64_t end, S* rows) const {
    for (int64_t i = 0; i < queries; i++)
      for (int64_t j = begin; j < end; j++) rows[i * p.weights.query + j] = 0;
  }
};

}  // namespace
}  // namespace pyrnn
