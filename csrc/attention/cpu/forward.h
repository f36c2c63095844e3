// Forward pass: online softmax over blocks of keys for panels of queries (Dao et al. 2022).
//
// For each block: scores = K q (a product), masks and maxima, exp, out += V^T weights (a product). The shift
// that is subtracted before exp is raised only when a maximum exceeds it by far: rescaling rounds all sums
// again. A task is some panels of the heads that share keys. Work: 2 T S (D + V) multiply-adds a head; what
// stays in cache while keys and values stream by: the packed queries and the output of one panel.
#pragma once
#include "attention/cpu/dropout.h"
#include "attention/cpu/long_sum.h"
#include "attention/cpu/operands.h"
#include "attention/cpu/panel.h"

namespace pyrnn::attention {
namespace {

// What a task works on: panels [first, last) of the panels of query heads h0 .. h0 + group.
template <class S, class Op>
struct PanelTasks {
  Panels<typename Op::Acc> panels;
  int64_t group;  // query heads that share keys
  int64_t panels_per_task, tasks_per_head_group;

  explicit PanelTasks(const Problem& p) : panels(p.T), group(p.H / p.K) {
    const int64_t n = panels.count * group;
    // Rows staged for a task serve all its panels; but there must be enough tasks for all threads.
    constexpr int64_t kEnoughTasks = Rows<S, Op>::kInPlace ? 64 : 16;
    panels_per_task = max(1, min(n, n * p.B * p.K / kEnoughTasks));
    tasks_per_head_group = ceil_div(n, panels_per_task);
  }
  int64_t count(const Problem& p) const { return p.B * p.K * tasks_per_head_group; }
};

// Before they are divided by their sum, weights may grow to exp of this.
constexpr int kMaxAboveShift = 2;

template <class S, class Op>
struct Forward {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  static constexpr int L = kLanes<A>, kMaxW = kPanelVectors * L;

  const Problem& p;
  const int64_t block;  // keys at a time
  PanelTasks<S, Op> tasks;
  Dropout<A> dropout;
  Rows<S, Op> k, v;
  Element *queries, *right;  // packed panel; weights as right operand
  A *scores, *bias, *factors;
  LongSum<A> out;
  Vec<A> shift[kPanelVectors], sum[kPanelVectors], sum_error[kPanelVectors],
      inverse[kPanelVectors];  // of each query

  explicit Forward(const Problem& problem, int64_t keys_at_a_time = kBlockKeys)
      : p(problem), block(keys_at_a_time), tasks(problem), dropout(problem) {}

  size_t layout(char* base) {
    Scratch s{base};
    k.layout(s, p.S, p.D, p.k.row, false);
    v.layout(s, p.S, p.V, p.v.row, true);
    queries = s.take<Element>(elements<Op>(p.D) * kMaxW);
    right = s.take<Element>(Op::kPerElement == 1 ? 0 : block / 2 * kMaxW);
    scores = s.take<A>(block * kMaxW);
    bias = s.take<A>(p.mask_kind == kNoMask ? 0 : block * kMaxW);
    factors = s.take<A>(dropout.active ? block * kMaxW : 0);
    out.layout(s, p.V * kMaxW, p.S);
    return s.used;
  }

  void run(int64_t task) {
    const int64_t kv = task / tasks.tasks_per_head_group, b = kv / p.K, k_head = kv % p.K;
    const int64_t begin = task % tasks.tasks_per_head_group * tasks.panels_per_task,
                  end = min(begin + tasks.panels_per_task, tasks.panels.count * tasks.group);
    load_keys(b, k_head, keys_of_panels(b, begin, end));
    for (int64_t i = begin; i < end; i++) {
      const int64_t h = k_head * tasks.group + i / tasks.panels.count, panel = i % tasks.panels.count;
      with_vectors<kPanelVectors>(tasks.panels.width(panel), [&](auto nv) {
        this->template run_panel<decltype(nv)::value>(b, h, tasks.panels.first(panel));
      });
    }
  }

  // What panels begin .. end of the heads that share keys read.
  Range keys_of_panels(int64_t b, int64_t begin, int64_t end) const {
    const Panels<A>& panels = tasks.panels;
    if (begin / panels.count != (end - 1) / panels.count) return blocks_for(p, b, 0, p.T - 1);
    return blocks_for(p, b, panels.first(begin % panels.count), panels.end((end - 1) % panels.count) - 1);
  }

  void load_keys(int64_t b, int64_t k_head, Range keys) {
    k.load_head(p.k, b, k_head, keys);
    v.load_head(p.v, b, k_head, keys);
  }

  // Leaves in `scores` the last block's weights, dropped but not yet times `inverse`; returns its keys.
  template <int NV>
  Range run_panel(int64_t b, int64_t h, int64_t t0) {
    Range last{};
    const Panel<S, A, NV> panel(p, b, h, t0, bias);
    panel.fetch(p.out, p.V, 0), panel.fetch(p.q, p.D, NV * L);
    pack_queries<NV>(panel);
    for (int i = 0; i < NV; i++) shift[i] = splat<A>(kNegInf<A>), sum[i] = sum_error[i] = Vec<A>{};
    out.clear(p.V * NV * L);
    for (int64_t j0 = panel.keys.begin; j0 < panel.keys.end; j0 += block) {
      const int64_t n = min(block, panel.keys.end - j0);
      if (!panel.prepare(j0, n)) continue;
      last = {j0, j0 + n};
      k.template matmul<NV>(j0, n, queries, scores);
      panel.transform_scores(j0, n, scores);
      panel.partial(j0, n) ? softmax<NV, true>(n) : softmax<NV, false>(n);
      if (dropout.active) drop<NV>(panel, j0, n);
      const bool masked_nonfinite = panel.partial(j0, n) && !v.finite(j0, n);
      for (int64_t j = 0; j < n; j += LongSum<A>::kChainKeys)
        add_values<NV>(j0 + j, min(LongSum<A>::kChainKeys, n - j), scores + j * NV * L, masked_nonfinite);
    }
    write<NV>(panel);
    return last;
  }

  template <int NV>
  void pack_queries(const Panel<S, A, NV>& panel) {
    const S* rows = (const S*)p.q.data + panel.b * p.q.batch + panel.h * p.q.head + panel.t0 * p.q.row;
    pack_from_columns<Op, NV, S>(
        queries, p.D, [&](int c) -> const S* { return c < panel.valid ? rows + c * p.q.row : nullptr; });
  }

 private:
  // scores become weights, not yet divided by their sum; earlier sums are rescaled to a new shift.
  template <int NV, bool kMasked>
  void softmax(int64_t n) {
    constexpr int W = NV * L;
    Vec<A> block_max[NV], factor[NV];
    for (int i = 0; i < NV; i++) block_max[i] = splat<A>(kNegInf<A>);
    for (int64_t j = 0; j < n; j++)
      for (int i = 0; i < NV; i++) {
        const Vec<A> s = load<A>(scores + j * W + i * L);
        block_max[i] = s > block_max[i] ? s : block_max[i];
      }
    bool any_raised = false;
    for (int i = 0; i < NV; i++) {
      const auto raised = block_max[i] - shift[i] > A(kMaxAboveShift);
      const Vec<A> next = raised ? block_max[i] : shift[i], offset = next == kNegInf<A> ? Vec<A>{} : next;
      factor[i] = raised ? exp_below(shift[i] - offset) : splat<A>(1);  // 0 where no key was visible before
      for (int l = 0; l < L; l++) any_raised |= raised[l] != 0;
      sum[i] *= factor[i], sum_error[i] *= factor[i];
      shift[i] = next;
      for (int64_t j = 0; j < n; j += kBlockKeys)
        add_exactly(sum[i], sum_error[i], weigh<NV, kMasked>(j, min(j + kBlockKeys, n), i, offset));
    }
    if (any_raised) out.template rescale<NV>(factor);
  }

  // Scores of keys [j, end) become weights of a vector of queries; returns their sum, of short chains as in
  // products (long_sum.h).
  template <int NV, bool kMasked>
  Vec<A> weigh(int64_t j, int64_t end, int i, Vec<A> offset) {
    const auto weigh_keys = [&](auto keys, A* at) {
      constexpr int N = decltype(keys)::value, W = NV * L;
      Vec<A> s[N], w[N];
      for (int c = 0; c < N; c++) s[c] = load<A>(at + c * W), w[c] = s[c] - offset;
      exp_below<N>(w);
      for (int c = 0; c < N; c++)
        store(at + c * W, kMasked && s[c] == kNegInf<A> ? splat<A>(kMaskedWeight<A>) : w[c]);
      return N == 4 ? (w[0] + w[1]) + (w[2] + w[3]) : w[0];
    };
    A* column = scores + i * L;
    Vec<A> part[2] = {};
    for (; j + 8 <= end; j += 8)
      for (int half = 0; half < 2; half++)
        part[half] += weigh_keys(Int<4>{}, column + (j + 4 * half) * NV * L);
    for (; j < end; j++) part[0] += weigh_keys(Int<1>{}, column + j * NV * L);
    return part[0] + part[1];
  }

  template <int NV>
  void add_values(int64_t j0, int64_t n, const A* weights, bool masked_nonfinite) {
    out.make_room(n);
    if (masked_nonfinite)
      v.template matmul_transposed_visible<NV>(j0, n, weights, out.chain, is_masked<A>);
    else
      v.template matmul_transposed<NV>(j0, n, as_rhs<Op, NV>(weights, n, right), out.chain);
  }

  template <int NV>
  void drop(const Panel<S, A, NV>& panel, int64_t j0, int64_t n) {
    dropout.template factors<NV>(p, panel.b, panel.h, panel.t0, j0, n, factors);
    for (int64_t i = 0; i < n * NV; i++)
      store(scores + i * L, load<A>(scores + i * L) * load<A>(factors + i * L));
  }

  template <int NV>
  void write(const Panel<S, A, NV>& panel) {
    out.finish();
    for (int i = 0; i < NV; i++) {
      sum[i] = with_error(sum[i], sum_error[i]);
      inverse[i] = sum[i] == 0 ? Vec<A>{} : 1 / sum[i];
    }
    if (p.statistics) panel.store_statistics(shift, sum);
    S* rows = (S*)p.out.data + panel.b * p.out.batch + panel.h * p.out.head + panel.t0 * p.out.row;
    store_transposed<S, A, NV>(out.chain, p.V, inverse, panel.valid, rows, p.out.row);
  }
};

}  // namespace
}  // namespace pyrnn::attention
