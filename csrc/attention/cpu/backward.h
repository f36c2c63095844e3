// Backward pass: for each panel of queries the scores of each block of keys once more, then
//
//   d_weight = g_out v (+ the gradient of returned weights),  d_score = weight * (d_weight - delta),
//   d_v += weight g_out,  d_k += scale d_score q,  d_q += scale d_score k,
//
// with delta the sum over keys of weight * d_weight = g_out . out: five products (Dao et al. 2022). A task is
// some panels of the heads that share keys, and has its own d_k and d_v: tasks never wait for one another,
// and what several of them made of the same keys is added in a second stage, in a fixed order.
#pragma once
#include "attention/cpu/decode.h"
#include "attention/cpu/forward.h"

namespace pyrnn::attention {
namespace {

template <class S, class Op>
struct Backward {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  static constexpr int L = kLanes<A>, kMaxW = kPanelVectors * L;

  const Problem& p;
  Panels<A> panels;
  Vec<A> shift[kPanelVectors], inverse[kPanelVectors];  // of each query's softmax
  int64_t group, splits;
  Dropout<A> dropout;
  Rows<S, Op> k, v;
  QueryRows<S, Op> q_rows, g_rows;
  Element *q_columns, *g_columns, *right;
  Storage* left;
  A *weights, *d_scores, *bias, *cap_slopes, *factors, *g_weights, *d_k, *d_v;
  LongSum<A> d_q;

  explicit Backward(const Problem& problem)
      : p(problem), panels(problem.T), group(problem.H / problem.K), dropout(problem) {
    // As many tasks as a machine has cores, if the heads alone are too few; each with work for its own sums.
    splits = max(1, min(ceil_div(16, p.B * p.K), p.T * group / 512));
  }

  int64_t tasks(int stage) const {
    if (stage == 0) return p.B * p.K * splits;
    return stage == 1 && splits > 1 ? p.B * p.K * ceil_div(p.S, kBlockKeys) : 0;
  }
  int64_t sum_of_keys() const {  // numbers of d_k and d_v of one task
    return p.S * ((p.d_k.data ? QueryRows<S, Op>::padded(p.D) : 0) +
                  (p.d_v.data ? QueryRows<S, Op>::padded(p.V) : 0));
  }
  size_t shared_bytes() const { return splits > 1 ? sizeof(A) * p.B * p.K * splits * sum_of_keys() : 0; }

  size_t layout(char* base) {
    constexpr int64_t kBlock = kBlockKeys * kMaxW;
    Scratch s{base};
    k.layout(s, p.S, p.D, p.k.row, p.d_q.data != nullptr);
    v.layout(s, p.S, p.V, p.v.row, false);
    q_rows.layout(s, p.D, kMaxW);
    g_rows.layout(s, p.V, kMaxW);
    q_columns = s.take<Element>(elements<Op>(p.D) * kMaxW);
    g_columns = s.take<Element>(elements<Op>(p.V) * kMaxW);
    right = s.take<Element>(Op::kPerElement == 1 ? 0 : kBlock / 2);
    left = s.take<Storage>(Op::kPerElement == 1 ? 0 : kBlock);
    weights = s.take<A>(kBlock);
    d_scores = s.take<A>(kBlock);
    bias = s.take<A>(p.mask_kind == kNoMask ? 0 : kBlock);
    cap_slopes = s.take<A>(p.softcap > 0 ? kBlock : 0);
    factors = s.take<A>(dropout.active ? kBlock : 0);
    g_weights = s.take<A>(p.g_weights.data ? kBlock : 0);
    d_q.layout(s, p.D * kMaxW, p.S);
    d_k = s.take<A>(splits == 1 ? sum_of_keys() : 0);
    return s.used;
  }

  void run(char* shared, int stage, int64_t task) {
    if (stage == 1) return reduce((const A*)shared, task);
    const int64_t kv = task / splits, b = kv / p.K, k_head = kv % p.K, n = panels.count * group;
    if (splits > 1) d_k = (A*)shared + task * sum_of_keys();
    d_v = d_k + (p.d_k.data ? p.S * QueryRows<S, Op>::padded(p.D) : 0);
    if (d_k) __builtin_memset(d_k, 0, sizeof(A) * sum_of_keys());  // neither may be wanted
    k.load_head(p.k, b, k_head, blocks_for(p, b, 0, p.T - 1));
    v.load_head(p.v, b, k_head, blocks_for(p, b, 0, p.T - 1));
    for (int64_t i = task % splits; i < n; i += splits) {
      const int64_t h = k_head * group + i / panels.count, panel = i % panels.count;
      with_vectors<kPanelVectors>(panels.width(panel), [&](auto nv) {
        this->template run_panel<decltype(nv)::value>(b, h, panels.first(panel));
      });
    }
    if (splits == 1) write_keys(b, k_head, 0, p.S, d_k, 1);
  }

 private:
  template <int NV>
  void run_panel(int64_t b, int64_t h, int64_t t0) {
    constexpr int W = NV * L;
    const Panel<S, A, NV> panel(p, b, h, t0, bias, cap_slopes);
    panel.fetch(p.d_q, p.D, 0), panel.fetch(p.q, p.D, splits * W);
    panel.fetch(p.g_out, p.V, splits * W), panel.fetch(p.out, p.V, splits * W);
    Vec<A> delta[NV];
    load_queries<NV>(panel, delta);
    if (p.g_weights.data) add_delta_of_weights<NV>(panel, delta);
    d_q.clear(p.D * W);
    for (int64_t j0 = panel.keys.begin; j0 < panel.keys.end; j0 += kBlockKeys) {
      const int64_t n = min(kBlockKeys, panel.keys.end - j0);
      if (!make_weights<NV>(panel, j0, n)) {
        if (p.d_mask) write_d_mask<NV>(panel, j0, n, nullptr);
        continue;
      }
      v.template matmul<NV>(j0, n, g_columns, d_scores);
      if (p.g_weights.data) add_g_weights<NV>(panel, j0, n);
      make_d_scores<NV>(n, delta);
      if (p.d_mask) write_d_mask<NV>(panel, j0, n, d_scores);
      if (p.softcap > 0)
        for (int64_t i = 0; i < n * NV; i++) {
          const Vec<A> d =
              load<A>(d_scores + i * L);  // 0 where the key is masked; the other factor may be no number
          store(d_scores + i * L, d == 0 ? d : d * load<A>(cap_slopes + i * L));
        }
      if (p.d_v.data)
        g_rows.add_products(W, n, as_lhs<Op, NV>(weights, n, left), d_v + j0 * QueryRows<S, Op>::padded(p.V));
      if (p.d_k.data)
        q_rows.add_products(W, n, as_lhs<Op, NV>(d_scores, n, left),
                            d_k + j0 * QueryRows<S, Op>::padded(p.D));
      if (!p.d_q.data) continue;
      d_q.make_room(n);
      if (panel.partial(j0, n) && !k.finite(j0, n))
        k.template matmul_transposed_visible<NV>(j0, n, d_scores, d_q.chain, [](Vec<A> d) { return d == 0; });
      else
        k.template matmul_transposed<NV>(j0, n, as_rhs<Op, NV>(d_scores, n, right), d_q.chain);
    }
    if (p.d_mask) zero_d_mask_outside<NV>(panel);
    if (!p.d_q.data) return;
    d_q.finish();
    Vec<A> scale[NV];
    for (int i = 0; i < NV; i++) scale[i] = splat<A>(A(p.scale));
    S* rows = (S*)p.d_q.data + b * p.d_q.batch + h * p.d_q.head + t0 * p.d_q.row;
    store_transposed<S, A, NV>(d_q.chain, p.D, scale, panel.valid, rows, p.d_q.row);
  }

  // Packs q and g_out; finds delta. Queries without a visible key are zeros, whatever stands there.
  template <int NV>
  void load_queries(const Panel<S, A, NV>& panel, Vec<A>* delta) {
    constexpr int W = NV * L;
    const int64_t b = panel.b, h = panel.h, t0 = panel.t0;
    const S* q = (const S*)p.q.data + b * p.q.batch + h * p.q.head + t0 * p.q.row;
    const S* g = (const S*)p.g_out.data + b * p.g_out.batch + h * p.g_out.head + t0 * p.g_out.row;
    const S* out = (const S*)p.out.data + b * p.out.batch + h * p.out.head + t0 * p.out.row;
    panel.load_statistics(shift, inverse);
    bool live[W];
    for (int i = 0; i < NV; i++) {
      Vec<A> products[L] = {};
      for (int l = 0; l < L; l++) {
        const int64_t c = i * L + l;
        live[c] = inverse[i][l] != 0;
        if (live[c] && p.g_out.data)
          for (int64_t f = 0; f < p.V; f += L)
            products[l] +=
                load_n<A>(g + c * p.g_out.row + f, p.V - f) * load_n<A>(out + c * p.out.row + f, p.V - f);
      }
      delta[i] = horizontal_sums<A>(products);
    }
    auto q_row = [&](int64_t c) -> const S* { return live[c] ? q + c * p.q.row : nullptr; };
    auto g_row = [&](int64_t c) -> const S* {
      return live[c] && p.g_out.data ? g + c * p.g_out.row : nullptr;
    };
    pack_from_columns<Op, NV, S>(q_columns, p.D, q_row);
    pack_from_columns<Op, NV, S>(g_columns, p.V, g_row);
    // A query that is no number has made NaN of the weights of all its visible keys; zeros keep it from the
    // masked ones.
    auto number_row = [&](int64_t c) -> const S* {
      return __builtin_isnan(inverse[c / L][c % L]) ? nullptr : q_row(c);
    };
    if (p.d_k.data) q_rows.pack(W, number_row);
    if (p.d_v.data) g_rows.pack(W, g_row);
    if (takes_decode_path(p)) find_statistics<NV>(panel);
  }

  // The statistics once more: the decode path rounds scores in another way (decode.h), and with its maximum
  // large ones would have weights that do not sum to 1.
  template <int NV>
  void find_statistics(const Panel<S, A, NV>& panel) {
    Vec<A> row_max[NV], sum[NV], error[NV];
    for (int i = 0; i < NV; i++) row_max[i] = splat<A>(kNegInf<A>), sum[i] = error[i] = Vec<A>{};
    for (int64_t j0 = panel.keys.begin; j0 < panel.keys.end; j0 += kBlockKeys) {
      const int64_t n = min(kBlockKeys, panel.keys.end - j0);
      if (!make_scores<NV>(panel, j0, n)) continue;
      for (int i = 0; i < NV; i++) {
        Vec<A> next = row_max[i], part{};
        for (int64_t j = 0; j < n; j++) {
          const Vec<A> s = load<A>(weights + (j * NV + i) * L);
          next = s > next ? s : next;
        }
        const Vec<A> offset = next == kNegInf<A> ? Vec<A>{} : next, factor = exp_below(row_max[i] - offset);
        for (int64_t j = 0; j < n; j++) part += exp_below(load<A>(weights + (j * NV + i) * L) - offset);
        sum[i] *= factor, error[i] *= factor, row_max[i] = next;
        add_exactly(sum[i], error[i], part);
      }
    }
    for (int i = 0; i < NV; i++) {
      const auto masked = inverse[i] == 0;  // queries without a visible key, and lanes beyond the last one
      shift[i] = masked ? splat<A>(-kNegInf<A>) : row_max[i];
      inverse[i] = masked ? Vec<A>{} : 1 / with_error(sum[i], error[i]);
    }
  }

  // Scores [n][W] in the place of the weights; false if no key is visible.
  template <int NV>
  bool make_scores(const Panel<S, A, NV>& panel, int64_t j0, int64_t n) {
    if (!panel.prepare(j0, n)) return false;
    k.template matmul<NV>(j0, n, q_columns, weights);
    panel.transform_scores(j0, n, weights);
    return true;
  }

  // weights [n][W] before dropout, and the factors of dropout; false if no key is visible.
  template <int NV>
  bool make_weights(const Panel<S, A, NV>& panel, int64_t j0, int64_t n) {
    if (!make_scores<NV>(panel, j0, n)) return false;
    if (panel.partial(j0, n))
      scores_to_weights<true, NV>(n, weights, shift, inverse);
    else
      scores_to_weights<false, NV>(n, weights, shift, inverse);
    if (dropout.active) dropout.template factors<NV>(p, panel.b, panel.h, panel.t0, j0, n, factors);
    return true;
  }

  // d_scores [n][W], gradients of the dropped weights, become those of the scores; weights are dropped.
  template <int NV>
  void make_d_scores(int64_t n, const Vec<A>* delta) {
    for (int64_t j = 0; j < n; j++)
      for (int i = 0; i < NV; i++) {
        const int64_t at = (j * NV + i) * L;
        const Vec<A> w = load<A>(weights + at);
        Vec<A> d = load<A>(d_scores + at);
        if (dropout.active) {
          const Vec<A> factor = load<A>(factors + at);
          d *= factor;
          store(weights + at, w * factor);
        }
        store(d_scores + at, w == 0 ? Vec<A>{} : w * (d - delta[i]));  // masked values may be no numbers
      }
  }

  // ---- what returning weights and differentiating masks add
  template <int NV>
  void load_g_weights(const Panel<S, A, NV>& panel, int64_t j0, int64_t n) {
    const bool mean = p.weights_kind == kMeanWeights;
    const Scores& g = p.g_weights;
    const S* from = (const S*)g.data + panel.b * g.batch + (mean ? 0 : panel.h * g.head) +
                    panel.t0 * g.query + j0 * g.key;
    load_transposed<S, A, NV>(from, g.query, g.key, panel.valid, n, mean ? A(1) / A(p.H) : A(1), g_weights);
  }
  template <int NV>
  void add_g_weights(const Panel<S, A, NV>& panel, int64_t j0, int64_t n) {
    load_g_weights<NV>(panel, j0, n);
    for (int64_t i = 0; i < n * NV; i++)
      store(d_scores + i * L, load<A>(d_scores + i * L) + load<A>(g_weights + i * L));
  }
  template <int NV>
  void add_delta_of_weights(const Panel<S, A, NV>& panel, Vec<A>* delta) {
    for (int64_t j0 = panel.keys.begin; j0 < panel.keys.end; j0 += kBlockKeys) {
      const int64_t n = min(kBlockKeys, panel.keys.end - j0);
      if (!make_weights<NV>(panel, j0, n)) continue;
      load_g_weights<NV>(panel, j0, n);
      for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < NV; i++) {
          const int64_t at = (j * NV + i) * L;
          Vec<A> w = load<A>(weights + at);
          if (dropout.active) w *= load<A>(factors + at);
          delta[i] += w == 0 ? Vec<A>{} : w * load<A>(g_weights + at);
        }
    }
  }
  template <int NV>
  void write_d_mask(const Panel<S, A, NV>& panel, int64_t j0, int64_t n, const A* block) {
    S* rows = (S*)p.d_mask + ((panel.b * p.H + panel.h) * p.T + panel.t0) * p.S + j0;
    if (block) return store_transposed_block<S, A, NV>(block, n, panel.valid, rows, p.S);
    for (int64_t i = 0; i < panel.valid; i++)
      for (int64_t j = 0; j < n; j++) rows[i * p.S + j] = 0;
  }
  template <int NV>
  void zero_d_mask_outside(const Panel<S, A, NV>& panel) {
    write_d_mask<NV>(panel, 0, min(panel.keys.begin, p.S), nullptr);
    write_d_mask<NV>(panel, panel.keys.end, p.S - panel.keys.end, nullptr);
  }

  // ---- d_k and d_v
  // Rows [begin, end) of one head: the sum of `parts` neighbouring blocks of sums.
  void write_keys(int64_t b, int64_t head, int64_t begin, int64_t end, const A* sums, int64_t parts) {
    const A* of_values = sums + (p.d_k.data ? p.S * QueryRows<S, Op>::padded(p.D) : 0);
    if (p.d_k.data) write_rows(p.d_k, p.D, A(p.scale), b, head, begin, end, sums, parts);
    if (p.d_v.data) write_rows(p.d_v, p.V, A(1), b, head, begin, end, of_values, parts);
  }
  void write_rows(const Heads& to, int64_t features, A scale, int64_t b, int64_t head, int64_t begin,
                  int64_t end, const A* sums, int64_t parts) {
    for (int64_t j = begin; j < end; j++) {
      S* row = (S*)to.data + b * to.batch + head * to.head + j * to.row;
      const A* from = sums + j * QueryRows<S, Op>::padded(features);
      for (int64_t f = 0; f < features; f += L) {
        Vec<A> sum = load<A>(from + f);
        for (int64_t i = 1; i < parts; i++) sum += load<A>(from + i * sum_of_keys() + f);
        store_n(row + f, sum * scale, features - f);
      }
    }
  }
  void reduce(const A* shared, int64_t task) {
    const int64_t blocks = ceil_div(p.S, kBlockKeys), kv = task / blocks, j0 = task % blocks * kBlockKeys;
    write_keys(kv / p.K, kv % p.K, j0, min(j0 + kBlockKeys, p.S), shared + kv * splits * sum_of_keys(),
               splits);
  }
};

}  // namespace
}  // namespace pyrnn::attention
