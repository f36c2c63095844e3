// What one row of the batch does with its source in one step: scores, weights and context, and their
// gradients. Keys and values are read where they lie, up to the row's length alone.
//
// An alignment is a row of W / 2 zeros, S numbers, W / 2 zeros: position s + j of it is what tap j of the
// location filter sees at s.
#pragma once
#include "attention/cpu/exp.h"
#include "common/few_rows.h"
#include "decoder/problem.h"

namespace pyrnn::decoder {
namespace {

template <class S, class A>
struct Source {
  using Plain = PlainOperand<A>;
  static constexpr int L = kLanes<A>;

  const Problem& p;
  int64_t stride;   // A in whole vectors
  int64_t padded;   // numbers of an alignment
  A* score_weight;  // [stride]
  A* filter;        // [W][stride]

  explicit Source(const Problem& problem)
      : p(problem), stride(round_up(problem.A, L)), padded(problem.S + 2 * (problem.W / 2)) {}

  void layout(Scratch& s) {
    score_weight = s.take<A>(p.score_weight ? stride : 0);
    filter = s.take<A>(p.W * stride);
  }
  // By one thread, before the others read.
  void prepare() const {
    const auto copy = [&](A* to, const void* from, int64_t step) {
      for (int64_t f = 0; f < stride; f++) to[f] = f < p.A ? number<A>((const S*)from + f * step) : A(0);
    };
    if (p.score_weight) copy(score_weight, p.score_weight, 1);
    for (int64_t j = 0; j < p.W; j++) copy(filter + j * stride, (const S*)p.weight_location + j, p.W);
  }

  int64_t length(int64_t b) const { return p.source_lengths ? p.source_lengths[b] : p.S; }
  const S* key(int64_t s, int64_t b) const { return (const S*)p.keys.data + s * p.keys.t + b * p.keys.b; }
  const S* value(int64_t s, int64_t b) const {
    return (const S*)p.values.data + s * p.values.t + b * p.values.b;
  }
  void load_alignment(const S* from, int64_t b, A* to) const {  // null: zeros
    const int64_t half = p.W / 2, n = from ? length(b) : 0;
    for (int64_t i = 0; i < padded; i++)
      to[i] = i >= half && i < half + n ? number<A>(from + i - half) : A(0);
  }

  // ---- forward

  // e [length] from q [A].
  void scores(int64_t b, const A* q, const A* alignment, A* e) const {
    if (!p.score_weight) {
      const Vec<A> scale = splat<A>(A(p.scale));
      return dots(
          b, p.A, q, [&](int64_t s) { return key(s, b); },
          [&](int64_t s, Vec<A> sums, int64_t n) { store_n(e + s, sums * scale, n); });
    }
    const int64_t n = length(b);
    for (int64_t s = 0; s < n; s += L) {
      Vec<A> lanes[L] = {};
      for (int64_t l = 0; l < L && s + l < n; l++) lanes[l] = additive(key(s + l, b), q, alignment + s + l);
      store_n(e + s, horizontal_sums<A>(lanes), n - s);
    }
  }

  // Scores become weights; a source of length 0 has none.
  void softmax(int64_t b, A* e) const {
    const int64_t n = length(b);
    A largest = -__builtin_inff(), sum = 0;
    for (int64_t s = 0; s < n; s++) largest = e[s] > largest ? e[s] : largest;
    Vec<A> sums{};
    for (int64_t s = 0; s < n; s += L) {
      const Vec<A> w = attention::exp_below(load_n<A>(e + s, n - s) - largest);
      sums += first_lanes<A>(w, n - s);
      store_n(e + s, w, n - s);
    }
    for (int l = 0; l < L; l++) sum += sums[l];
    for (int64_t s = 0; s < n; s += L) store_n(e + s, load_n<A>(e + s, n - s) / sum, n - s);
  }

  // to [V] = sum_s w_s v_s.
  void context(int64_t b, const A* w, A* to) const {
    for (int64_t i = 0; i < p.V; i++) to[i] = 0;
    add_product<Plain, S, 1>(length(b), w, 0, value(0, b), p.values.t, p.V, to, 0);
  }

  // ---- backward

  // d_w [length] += the products of values and d_context.
  void add_weight_gradients(int64_t b, const A* d_context, A* d_w) const {
    dots(
        b, p.V, d_context, [&](int64_t s) { return value(s, b); },
        [&](int64_t s, Vec<A> sums, int64_t n) { store_n(d_w + s, load_n<A>(d_w + s, n) + sums, n); });
  }

  // d_w becomes the gradient of the scores, that of the products before their scale.
  void score_gradients(int64_t b, const A* w, A* d_w) const {
    const int64_t n = length(b);
    Vec<A> sums{};
    A mean = 0;
    for (int64_t s = 0; s < n; s += L) sums += load_n<A>(w + s, n - s) * load_n<A>(d_w + s, n - s);
    for (int l = 0; l < L; l++) mean += sums[l];
    const A scale = p.score_weight ? A(1) : A(p.scale);
    for (int64_t s = 0; s < n; s += L)
      store_n(d_w + s, load_n<A>(w + s, n - s) * (load_n<A>(d_w + s, n - s) - mean) * scale, n - s);
  }

  // d_q [A] of the dot product.
  void query_gradient(int64_t b, const A* d_e, A* d_q) const {
    for (int64_t i = 0; i < p.A; i++) d_q[i] = 0;
    add_product<Plain, S, 1>(length(b), d_e, 0, key(0, b), p.keys.t, p.A, d_q, 0);
  }

  // Gradients of the additive score. All but d_q are added to; d_keys and d_filter may be null.
  struct Additive {
    A* d_q;     // [stride]
    A* d_keys;  // [S][...], its rows `key_stride` apart
    int64_t key_stride;
    A* d_score_weight;  // [stride]
    A* d_filter;        // [W][stride]
    A* d_alignment;     // [padded][L]: lanes of sums
  };
  void additive_gradients(int64_t b, const A* q, const A* alignment, const A* d_e, const Additive& to) const {
    const int64_t n = length(b);
    for (int64_t f = 0; f < p.A; f += L) {
      const int64_t left = p.A - f;
      const Vec<A> query = load_n<A>(q + f, left), weight = load<A>(score_weight + f);
      Vec<A> d_query{}, d_weight{};
      for (int64_t s = 0; s < n; s++) {
        Vec<A> x = query + load_n<A>(key(s, b) + f, left);
        for (int64_t j = 0; j < p.W; j++) x += load<A>(filter + j * stride + f) * alignment[s + j];
        x = tanh(first_lanes<A>(x, left));
        d_weight += x * d_e[s];
        const Vec<A> d = weight * d_e[s] * (A(1) - x * x);
        d_query += d;
        if (to.d_keys) {
          A* d_key = to.d_keys + s * to.key_stride + f;
          store_n(d_key, load_n<A>(d_key, left) + d, left);
        }
        for (int64_t j = 0; j < p.W; j++) {
          A *d_tap = to.d_filter + j * stride + f, *d_seen = to.d_alignment + (s + j) * L;
          store(d_tap, load<A>(d_tap) + d * alignment[s + j]);
          store(d_seen, load<A>(d_seen) + d * load<A>(filter + j * stride + f));
        }
      }
      store(to.d_q + f, d_query);
      store(to.d_score_weight + f, load<A>(to.d_score_weight + f) + d_weight);
    }
  }

 private:
  // Lanes of the sum of u . tanh(q + k + filtered alignment).
  Vec<A> additive(const S* k, const A* q, const A* alignment) const {
    Vec<A> sum{};
    for (int64_t f = 0; f < p.A; f += L) {
      Vec<A> x = load_n<A>(q + f, p.A - f) + load_n<A>(k + f, p.A - f);
      for (int64_t j = 0; j < p.W; j++) x += load<A>(filter + j * stride + f) * alignment[j];
      // Padding of the filter times a number that is none would be one.
      sum += load<A>(score_weight + f) * tanh(first_lanes<A>(x, p.A - f));
    }
    return sum;
  }

  // to(s, products of x [K] with row(s), and those of its neighbours, how many).
  template <class Row, class To>
  void dots(int64_t b, int64_t K, const A* x, Row row, To to) const {
    const int64_t n = length(b);
    for (int64_t s = 0; s < n; s += L) {
      const int64_t count = min(L, n - s);
      const S* rows[L];
      for (int64_t l = 0; l < L; l++) rows[l] = row(s + min(l, count - 1));
      Vec<A> sums;
      dot_rows<Plain, S, 1>(1, K, x, 0, rows, count, &sums);
      to(s, sums, count);
    }
  }
};

}  // namespace
}  // namespace pyrnn::decoder
