// Forward pass: online softmax over blocks of keys for panels of queries (Dao et al. 2022).
//
// For each block: scores = K q (a product), masks and maxima, exp, out += V^T weights (a product). A task is
// some panels of the heads that share keys. Work: 2 T S (D + V) multiply-adds a head; what stays in cache
// while keys and values stream by: the packed queries and the output of one panel.
#pragma once
#include "dropout.h"
#include "exp2.h"
#include "operands.h"
#include "panel.h"

namespace pyrnn {
namespace {

// What a task works on: panels [first, last) of the panels of query heads h0 .. h0 + group.
template <class A>
struct PanelTasks {
  Panels<A> panels;
  int64_t group, a_task, a_head_group;  // panels in a task; tasks for the heads that share keys

  explicit PanelTasks(const AttentionProblem& p) : panels(p.T), group(p.H / p.K) {
    const int64_t n = panels.count * group;
    // Rows staged for a task serve all its panels; but there must be tasks enough to share out.
    a_task = larger(1, smaller(8, n * p.B * p.K / 64));
    a_head_group = ceil_div(n, a_task);
  }
  int64_t count(const AttentionProblem& p) const { return p.B * p.K * a_head_group; }
};

template <class S, class Op>
struct Forward {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  static constexpr int L = kLanes<A>, kMostW = kPanelVectors * L;

  const AttentionProblem& p;
  const int64_t block;  // keys at a time
  PanelTasks<A> tasks;
  Dropout<A> dropout;
  Rows<S, Op> k, v;
  Element *queries, *right;  // packed panel; weights as right operand
  A *scores, *bias, *factors, *out;
  Vec<A> inverse[kPanelVectors];  // of each query's sum

  explicit Forward(const AttentionProblem& problem, int64_t keys_at_a_time = kBlockKeys)
      : p(problem), block(keys_at_a_time), tasks(problem), dropout(problem) {}

  size_t layout(char* base) {
    Scratch s{base};
    k.layout(s, p.S, p.D, p.k.row, false);
    v.layout(s, p.S, p.V, p.v.row, true);
    queries = s.take<Element>(elements<Op>(p.D) * kMostW);
    right = s.take<Element>(Op::kPerElement == 1 ? 0 : block / 2 * kMostW);
    scores = s.take<A>(block * kMostW);
    bias = s.take<A>(p.mask_kind == kNoMask ? 0 : block * kMostW);
    factors = s.take<A>(dropout.active ? block * kMostW : 0);
    out = s.take<A>(p.V * kMostW);
    return s.used;
  }

  void run(int64_t task) {
    const int64_t kv = task / tasks.a_head_group, b = kv / p.K, k_head = kv % p.K;
    const int64_t n = tasks.panels.count * tasks.group, begin = task % tasks.a_head_group * tasks.a_task;
    load_keys(b, k_head);
    for (int64_t i = begin; i < smaller(begin + tasks.a_task, n); i++) {
      const int64_t h = k_head * tasks.group + i / tasks.panels.count, panel = i % tasks.panels.count;
      with_vectors<kPanelVectors>(tasks.panels.width(panel), [&](auto nv) {
        this->template run_panel<decltype(nv)::value>(b, h, tasks.panels.first(panel));
      });
    }
  }

  void load_keys(int64_t b, int64_t k_head) {
    k.load_head(p.k, b, k_head, keys_of(p, b));
    v.load_head(p.v, b, k_head, keys_of(p, b));
  }

  // Leaves in `scores` the last block's weights, dropped but not yet times `inverse`; returns its keys.
  template <int NV>
  Range run_panel(int64_t b, int64_t h, int64_t t0) {
    Range last{};
    const Panel<S, A, NV> panel(p, b, h, t0, bias);
    pack_queries<NV>(panel);
    Vec<A> most[NV], sum[NV];
    for (int i = 0; i < NV; i++) most[i] = splat<A>(kNothing<A>), sum[i] = Vec<A>{};
    for (int64_t i = 0; i < p.V * NV; i++) store(out + i * L, Vec<A>{});
    for (int64_t j0 = panel.keys.begin; j0 < panel.keys.end; j0 += block) {
      const int64_t n = smaller(block, panel.keys.end - j0);
      if (!panel.prepare(j0, n)) continue;
      last = {j0, j0 + n};
      k.template times<NV>(j0, n, queries, scores);
      panel.finish(j0, n, scores);
      softmax<NV>(n, most, sum);
      if (dropout.active) drop<NV>(panel, j0, n);
      if (panel.partial(j0, n) && !v.finite(j0, n))
        v.template transposed_times_seen<NV>(j0, n, scores, out);
      else
        v.template transposed_times<NV>(j0, n, as_right<Op, NV>(scores, n, right), out);
    }
    write<NV>(panel, most, sum);
    return last;
  }

  template <int NV>
  void pack_queries(const Panel<S, A, NV>& panel) {
    const S* rows = (const S*)p.q.data + panel.b * p.q.batch + panel.h * p.q.head + panel.t0 * p.q.row;
    pack_from_columns<Op, NV, S>(
        queries, p.D, [&](int c) -> const S* { return c < panel.valid ? rows + c * p.q.row : nullptr; });
  }

 private:
  // scores become weights, not yet divided by their sum; what was summed before is brought to the new
  // maximum.
  template <int NV>
  void softmax(int64_t n, Vec<A>* most, Vec<A>* sum) {
    constexpr int W = NV * L;
    Vec<A> shift[NV];
    bool grew = false;
    for (int i = 0; i < NV; i++) {
      Vec<A> m = most[i];
      for (int64_t j = 0; j < n; j++) {
        const Vec<A> s = load<A>(scores + j * W + i * L);
        m = s > m ? s : m;
      }
      shift[i] = m == kNothing<A> ? Vec<A>{} : m;  // nothing seen yet: exp2(-infinity - 0) = 0
      const Vec<A> fade = exp2(most[i] - shift[i]);
      for (int l = 0; l < L; l++) grew |= m[l] != most[i][l];
      sum[i] *= fade;
      most[i] = m;
      scores_to_weights<NV>(n, i, shift[i], sum[i]);
      shift[i] = fade;
    }
    if (grew)
      for (int64_t f = 0; f < p.V; f++)
        for (int i = 0; i < NV; i++) {
          A* at = out + f * W + i * L;
          store(at, load<A>(at) * shift[i]);
        }
  }

  template <int NV>
  void scores_to_weights(int64_t n, int i, Vec<A> shift, Vec<A>& sum) {
    constexpr int W = NV * L;
    for (int64_t j = 0; j < n; j++) {
      A* at = scores + j * W + i * L;
      const Vec<A> w = exp2(load<A>(at) - shift);
      sum += w;
      store(at, w);
    }
  }

  template <int NV>
  void drop(const Panel<S, A, NV>& panel, int64_t j0, int64_t n) {
    dropout.template factors<NV>(p, panel.b, panel.h, panel.t0, j0, n, factors);
    for (int64_t i = 0; i < n * NV; i++)
      store(scores + i * L, load<A>(scores + i * L) * load<A>(factors + i * L));
  }

  template <int NV>
  void write(const Panel<S, A, NV>& panel, const Vec<A>* most, const Vec<A>* sum) {
    A* lse = p.lse ? (A*)p.lse + (panel.b * p.H + panel.h) * p.T + panel.t0 : nullptr;
    for (int i = 0; i < NV; i++) {
      inverse[i] = sum[i] == 0 ? Vec<A>{} : 1 / sum[i];
      for (int l = 0; lse && l < L && i * L + l < panel.valid; l++)
        lse[i * L + l] = sum[i][l] == 0 ? kNothing<A> : A((most[i][l] + log2(sum[i][l])) / kLog2e);
    }
    S* rows = (S*)p.out.data + panel.b * p.out.batch + panel.h * p.out.head + panel.t0 * p.out.row;
    store_transposed<S, A, NV>(out, p.V, inverse, panel.valid, rows, p.out.row);
  }
};

}  // namespace
}  // namespace pyrnn
