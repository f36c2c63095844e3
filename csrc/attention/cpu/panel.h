// A panel: up to kPanelVectors vectors of neighbouring queries of one head, and the scores of a block of keys
// as they stand before the softmax.
#pragma once
#include "attention/cpu/exp.h"
#include "attention/cpu/operands.h"
#include "attention/problem.h"
#include "common/operand.h"
#include "common/pack.h"

namespace pyrnn::attention {
namespace {

constexpr int kPanelVectors = kRegisters == 32 ? 3 : 2;
constexpr int64_t kBlockKeys = 64;  // scores, keys and values of a block fit the first cache together

template <class A>
constexpr A kNegInf = -__builtin_huge_val();

// The weight of a masked key, before division by the sum: it adds nothing, and differs from a weight that is
// 0 because exp or dropout made it so. That one times NaN is NaN, this one is left out.
template <class A>
constexpr A kMaskedWeight = -A(0);
template <class A>
inline typename VecTypes<A>::mask is_masked(Vec<A> weight) {
  using I = typename VecTypes<A>::mask;
  return (I)weight == (I)splat<A>(kMaskedWeight<A>);
}

// From a product q.k to the score, in every layout: `distance` of query and key, `extra` from the mask. A
// masked key has -infinity, whatever was there before. Every step is rounded, so that a score has the same
// bits wherever it is computed again: beside a mask of -1e9 the next number is 64 away.
template <class A>
struct ScoreTransform {
  using V = Vec<A>;
  A scale, cap, slope;
  bool has_mask;

  ScoreTransform(const Problem& p, int64_t b, int64_t h)
      : scale(A(p.scale)),
        cap(A(p.softcap)),
        slope(p.slopes ? A(p.slopes[b * p.slope_batch + h * p.slope_head]) : 0),
        has_mask(p.mask_kind != kNoMask) {}

  bool only_scales() const { return !(cap > 0) && slope == 0 && !has_mask; }

  V operator()(V product, V distance, V extra, A* cap_slope = nullptr) const {
    V s = rounded(product * scale);
    if (cap > 0) {
      const V t = precise_tanh<A>(s / cap);
      if (cap_slope) store(cap_slope, 1 - t * t);
      s = rounded(t * cap);
    }
    if (slope != 0) s -= rounded((distance < 0 ? -distance : distance) * slope);
    if (has_mask) s = extra == kNegInf<A> ? extra : s + extra;
    return s;
  }
};

// A score's weight, from what its query's softmax left. Masked keys have 0, even if the inverse is no number.
template <class A>
inline Vec<A> weight_of(Vec<A> score, Vec<A> shift, Vec<A> inverse) {
  return score == kNegInf<A> ? Vec<A>{} : exp_below(score - shift) * inverse;
}

// The same for a block of scores [n][NV * L]. Only where kMasked may one of them be masked.
template <bool kMasked, int NV, class A>
inline void scores_to_weights(int64_t n, A* block, const Vec<A>* shift, const Vec<A>* inverse) {
  constexpr int L = kLanes<A>, W = NV * L;
  const auto weigh = [&](auto keys, A* rows) {
    constexpr int N = decltype(keys)::value * NV;
    Vec<A> score[N], w[N];
    for (int i = 0; i < N; i++) score[i] = load<A>(rows + i * L), w[i] = score[i] - shift[i % NV];
    exp_below<N>(w);
    for (int i = 0; i < N; i++) w[i] *= inverse[i % NV];
    for (int i = 0; i < N; i++) store(rows + i * L, kMasked && score[i] == kNegInf<A> ? Vec<A>{} : w[i]);
  };
  int64_t j = 0;
  for (; j + 2 <= n; j += 2) weigh(Int<2>{}, block + j * W);
  if (j < n) weigh(Int<1>{}, block + j * W);
}

// What `count` numbers of the mask add to scores.
template <class A>
inline Vec<A> as_bias(const uint8_t* m, int64_t stride, int64_t count) {
  return load_spaced<A>(m, stride, count) == 0 ? splat<A>(kNegInf<A>) : Vec<A>{};
}
template <class A, class S>
inline Vec<A> as_bias(const S* m, int64_t stride, int64_t count) {
  return load_spaced<A>(m, stride, count);
}

// Keys of sequence b: none beyond them is visible.
inline int64_t keys_of(const Problem& p, int64_t b) {
  return p.lengths ? min(max(p.lengths[b], 0), p.S) : p.S;
}

// The keys visible to query i, but for padding and mask; none where begin >= end. Both grow with the query.
inline Range limits_of(const Problem& p, int64_t b, int64_t i) {
  const int64_t at = p.query_start + i;
  int64_t low = 0, high = keys_of(p, b);
  if (p.causal) high = min(high, at + 1);
  if (p.window_right >= 0) high = min(high, at + p.window_right + 1);
  if (p.window_left >= 0) low = max(low, at - p.window_left);
  return {low, high};
}
inline Range visible_to(const Problem& p, int64_t b, int64_t i) {
  const Range keys = limits_of(p, b, i);
  return keys.begin < keys.end ? keys : Range{0, 0};
}

// The keys of the blocks with these. Dropout wants aligned blocks, dot products whole pairs: a key too many
// is masked.
inline Range whole_blocks(const Problem& p, Range keys) {
  if (keys.end <= keys.begin) return {0, 0};
  return {keys.begin - keys.begin % kBlockKeys, min(round_up(keys.end, 2), p.S)};
}
// Those that some of the queries first .. last may see.
inline Range blocks_for(const Problem& p, int64_t b, int64_t first, int64_t last) {
  return whole_blocks(p, {limits_of(p, b, first).begin, limits_of(p, b, last).end});
}

// Panels of T queries: as even as they go.
template <class A>
struct Panels {
  int64_t T, vectors, count;
  explicit Panels(int64_t queries)
      : T(queries), vectors(ceil_div(T, kLanes<A>)), count(ceil_div(vectors, kPanelVectors)) {}
  int64_t first(int64_t panel) const { return vectors * panel / count * kLanes<A>; }
  int64_t end(int64_t panel) const { return min(first(panel + 1), T); }
  int width(int64_t panel) const { return int(vectors * (panel + 1) / count - vectors * panel / count); }
};

template <class S, class A, int NV>
struct Panel {
  using V = Vec<A>;
  using I = typename VecTypes<A>::mask;
  using Index = __typeof__(I{}[0] + 0);
  static constexpr int L = kLanes<A>, W = NV * L;

  const Problem& p;
  int64_t b, h, t0, valid;       // queries t0 .. t0 + valid; the lanes beyond repeat the last one
  I first_key[NV], end_key[NV];  // of each query
  Range keys, inside;            // visible to some query; visible to all
  V position[NV];
  ScoreTransform<A> transform;
  A* bias;           // [kBlockKeys][W] of the mask
  A* slopes_of_cap;  // [kBlockKeys][W] derivative of the softcap; null: not wanted

  Panel(const Problem& problem, int64_t batch, int64_t head, int64_t query, A* bias_block,
        A* cap_block = nullptr)
      : p(problem),
        b(batch),
        h(head),
        t0(query),
        valid(min(W, problem.T - query)),
        transform(problem, batch, head),
        bias(bias_block),
        slopes_of_cap(cap_block) {
    keys = {p.S, 0}, inside = {0, p.S};
    for (int i = 0; i < W; i++) {
      const int64_t query = t0 + min(i, valid - 1);
      const Range visible = visible_to(p, b, query);
      first_key[i / L][i % L] = Index(visible.begin);
      end_key[i / L][i % L] = Index(visible.end);
      position[i / L][i % L] = A(p.query_start + query);
      if (visible.begin < visible.end) keys = {min(keys.begin, visible.begin), max(keys.end, visible.end)};
      inside = {max(inside.begin, visible.begin), min(inside.end, visible.end)};
    }
    keys = whole_blocks(p, keys);
  }

  // Asks for the rows of as many queries, from the panel's query `from` on: they are read or written across,
  // a piece of each in turn, which no processor foresees.
  void fetch(const Heads& t, int64_t features, int64_t from) const {
    asm volatile("");  // else GCC takes this for a function without effect
    const S* rows = (const S*)t.data + b * t.batch + h * t.head + t0 * t.row;
    for (int64_t i = from; t.data && i < min(from + W, p.T - t0); i++)
      for (int64_t f = 0; f < features; f += 64 / int64_t(sizeof(S)))
        __builtin_prefetch(rows + i * t.row + f);
  }

  // Whether keys of this block may be masked: then what is there may be no number.
  bool partial(int64_t j0, int64_t n) const {
    return p.mask_kind != kNoMask || p.padding || j0 < inside.begin || j0 + n > inside.end;
  }

  // False: by padding and mask, no key of the block is visible to a query of the panel.
  bool prepare(int64_t j0, int64_t n) const {
    if (p.padding) {
      const uint8_t* row = p.padding + b * p.S + j0;
      int64_t real = 0;
      for (int64_t j = 0; j < n; j++) real += !row[j];
      if (!real) return false;
    }
    if (p.mask_kind == kBoolMask) return stage((const uint8_t*)p.mask.data, j0, n);
    if (p.mask_kind == kFloatMask) return stage((const S*)p.mask.data, j0, n);
    return true;
  }

  // Products q.k [n][W] become scores; those of masked keys become -infinity.
  void transform_scores(int64_t j0, int64_t n, A* block) const {
    const bool edge = j0 < inside.begin || j0 + n > inside.end;
    if (transform.only_scales() && !edge && !p.padding) {
      for (int64_t i = 0; i < n * NV; i++)
        store(block + i * L, rounded(load<A>(block + i * L) * transform.scale));
      return;
    }
    for (int64_t j = 0; j < n; j++) {
      const bool padding = p.padding && p.padding[b * p.S + j0 + j];
      for (int v = 0; v < NV; v++) {
        A* at = block + j * W + v * L;
        const V extra = transform.has_mask ? load<A>(bias + j * W + v * L) : V{};
        V s = transform(load<A>(at), position[v] - A(j0 + j), extra,
                        slopes_of_cap ? slopes_of_cap + j * W + v * L : nullptr);
        if (edge) {
          const I key = I{} + Index(j0 + j);
          s = ((key >= first_key[v]) & (key < end_key[v])) ? s : splat<A>(kNegInf<A>);
        }
        store(at, padding ? splat<A>(kNegInf<A>) : s);
      }
    }
  }

  // What the softmax of each query takes off its scores, and the inverse of the sum; infinity and 0 for
  // queries without a visible key and for lanes beyond the last one, where any score has weight 0, however
  // large.
  void load_statistics(V* shift, V* inverse) const {
    const A* stored = statistics();
    for (int v = 0; v < NV; v++) {
      const V sum = load_n<A>(stored + p.T + v * L, valid - v * L);
      shift[v] = sum == 0 ? splat<A>(-kNegInf<A>) : load_n<A>(stored + v * L, valid - v * L);
      inverse[v] = sum == 0 ? V{} : 1 / sum;
    }
  }
  void store_statistics(const V* shift, const V* sum) const {
    A* stored = statistics();
    for (int v = 0; v < NV; v++) {
      store_n(stored + v * L, shift[v], valid - v * L);
      store_n(stored + p.T + v * L, sum[v], valid - v * L);
    }
  }

 private:
  A* statistics() const { return (A*)p.statistics + (b * p.H + h) * 2 * p.T + t0; }

  // The mask's block, transposed; false if it masks every key.
  template <class M>
  bool stage(const M* mask, int64_t j0, int64_t n) const {
    mask += b * p.mask.batch + h * p.mask.head + t0 * p.mask.query + j0 * p.mask.key;
    // Any number but -infinity, each lane its own: NaN is one, too.
    V some = splat<A>(kNegInf<A>);
    if (p.mask.query == 0) {  // one row for all queries
      for (int64_t j = 0; j < n; j++) {
        const V x = splat<A>(as_bias<A>(mask + j * p.mask.key, 0, 1)[0]);
        some = x == kNegInf<A> ? some : x;
        for (int v = 0; v < NV; v++) store(bias + j * W + v * L, x);
      }
    } else {
      for (int v = 0; v < NV; v++)
        for (int64_t j = 0; j < n; j += L) {
          V square[L];
          const int64_t count = min(L, n - j);
          for (int l = 0; l < L; l++) {
            const int64_t query = min(v * L + l, valid - 1);
            const M* from = mask + query * p.mask.query + j * p.mask.key;
            square[l] = as_bias<A>(from, p.mask.key, count);
          }
          transpose<A>(square);
          for (int64_t i = 0; i < count; i++) {
            some = square[i] == kNegInf<A> ? some : square[i];
            store(bias + (j + i) * W + v * L, square[i]);
          }
        }
    }
    for (int l = 0; l < L; l++)
      if (!(some[l] == kNegInf<A>)) return true;
    return false;
  }
};

}  // namespace
}  // namespace pyrnn::attention
