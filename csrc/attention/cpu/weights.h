// The weights themselves, for callers who want them. A task is one panel of queries of a head, or of
// all heads where their mean is wanted. If a cache holds a panel's scores for all keys, the forward pass is
// run here with all of them as one block, and what it leaves are the weights. Else they are computed again
// after it: from the stored statistics, with one more product q.k and none with values.
#pragma once
#include "attention/cpu/forward.h"

namespace pyrnn::attention {
namespace {

template <class S, class Op>
struct Weights {
  using A = typename Op::Acc;
  static constexpr int L = kLanes<A>, kMaxW = kPanelVectors * L;

  // Of a panel. Less where keys and values are staged for every panel.
  static constexpr int64_t kMaxScores = Rows<S, Op>::kInPlace ? 1 << 17 : 1 << 16;
  static constexpr int64_t kMinTasks = 8;  // the mean of the heads leaves fewer tasks than they do

  const Problem& p;
  Panels<A> panels;
  bool mean, with_output;
  Forward<S, Op> forward;  // its buffers serve either way
  A* sum;

  explicit Weights(const Problem& problem)
      : p(problem),
        panels(problem.T),
        mean(problem.weights_kind == kMeanWeights),
        with_output(p.weights_kind != kNoWeights && p.S * kMaxW <= kMaxScores &&
                    (!mean || p.B * panels.count >= kMinTasks)),
        forward(problem, with_output ? round_up(p.S, kBlockKeys) : kBlockKeys) {}

  int64_t tasks() const { return p.weights_kind == kNoWeights ? 0 : p.B * (mean ? 1 : p.H) * panels.count; }

  size_t layout(char* base) {
    Scratch s{base};
    sum = s.take<A>(mean ? p.S * kMaxW : 0);
    return s.used + forward.layout(base ? base + s.used : base);
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
    for (int64_t i = 0; mean && i < p.S * NV; i++) store(sum + i * L, Vec<A>{});
    for (int64_t h = first; h < last; h++) {
      if (with_output)
        attend<NV>(b, h, t0, rows);
      else
        recompute<NV>(Panel<S, A, NV>(p, b, h, t0, forward.bias), rows);
    }
    if (!mean) return;
    Vec<A> scale[NV];
    for (int i = 0; i < NV; i++) scale[i] = splat<A>(A(1) / A(p.H));
    store_transposed<S, A, NV>(sum, p.S, scale, min(NV * L, p.T - t0), rows, w.query);
  }

  // The output and the weights of one head.
  template <int NV>
  void attend(int64_t b, int64_t h, int64_t t0, S* rows) {
    forward.load_keys(b, h / (p.H / p.K), blocks_for(p, b, t0, min(t0 + NV * L, p.T) - 1));
    const Range visible = forward.template run_panel<NV>(b, h, t0);
    A* block = forward.scores;
    for (int64_t j = 0; j < visible.end - visible.begin; j++)
      for (int i = 0; i < NV; i++) {
        A* at = block + (j * NV + i) * L;
        const Vec<A> w = load<A>(at);
        store(at, is_masked<A>(w) ? Vec<A>{} : w * forward.inverse[i]);
      }
    const int64_t valid = min(NV * L, p.T - t0);
    write_zeros(valid, 0, visible.begin, rows);
    put<NV>(visible, valid, block, rows);
    write_zeros(valid, visible.end, p.S, rows);
  }

  // A block of weights is added to `sum` for the mean, else written to `rows`.
  template <int NV>
  void put(Range keys, int64_t valid, const A* block, S* rows) {
    if (!mean)
      return store_transposed_block<S, A, NV>(block, keys.end - keys.begin, valid, rows + keys.begin,
                                              p.weights.query);
    A* to = sum + keys.begin * NV * L;
    for (int64_t i = 0; i < (keys.end - keys.begin) * NV; i++)
      store(to + i * L, load<A>(to + i * L) + load<A>(block + i * L));
  }

  // The weights of one head, after its output.
  template <int NV>
  void recompute(const Panel<S, A, NV>& panel, S* rows) {
    A *block = forward.scores, *factors = forward.factors;
    const Dropout<A>& dropout = forward.dropout;
    forward.k.load_head(p.k, panel.b, panel.h / (p.H / p.K), panel.keys);
    forward.template pack_queries<NV>(panel);
    write_zeros(panel.valid, 0, panel.keys.begin, rows);
    write_zeros(panel.valid, panel.keys.end, p.S, rows);
    Vec<A> shift[NV], inverse[NV];
    panel.load_statistics(shift, inverse);
    for (int64_t j0 = panel.keys.begin; j0 < panel.keys.end; j0 += kBlockKeys) {
      const int64_t n = min(kBlockKeys, panel.keys.end - j0);
      if (!panel.prepare(j0, n)) {
        write_zeros(panel.valid, j0, j0 + n, rows);
        continue;
      }
      forward.k.template matmul<NV>(j0, n, forward.queries, block);
      panel.transform_scores(j0, n, block);
      if (dropout.active) dropout.template factors<NV>(p, panel.b, panel.h, panel.t0, j0, n, factors);
      scores_to_weights<true, NV>(n, block, shift, inverse);
      for (int64_t i = 0; dropout.active && i < n * NV; i++)
        store(block + i * L, load<A>(block + i * L) * load<A>(factors + i * L));
      put<NV>({j0, j0 + n}, panel.valid, block, rows);
    }
  }

  void write_zeros(int64_t queries, int64_t begin, int64_t end, S* rows) const {
    for (int64_t i = 0; !mean && i < queries; i++)
      for (int64_t j = begin; j < end; j++) rows[i * p.weights.query + j] = 0;
  }
};

}  // namespace
}  // namespace pyrnn::attention
