// How the products read keys, values and what is made of the scores.
//
// Blocks of scores lie transposed, [keys][queries], a vector holding neighbouring queries: maxima, sums and
// masks need no step across lanes, and the block is at once the right operand of the next product. So keys
// and values are left operands, read where they lie (micro_kernel.h), and only the few queries are packed.
//
// Bfloat16 dot products take pairs of k: along the features the pairs are in place; along the keys they are
// made once for a task. Without dot products, bfloat16 is converted to float once for a task.
#pragma once
#include "attention/problem.h"
#include "common/operand.h"
#include "common/pack.h"

namespace pyrnn::attention {
namespace {

template <int N>
struct Int {
  static constexpr int value = N;
};

// f(Int<n>), n from 1 to kMax chosen at run time.
template <int kMax, class F>
inline void with_vectors(int n, F f) {
  if constexpr (kMax > 1)
    if (n < kMax) return with_vectors<kMax - 1>(n, f);
  f(Int<kMax>{});
}

// Rows [rows][features] of one head as a left operand, both ways.
template <class S, class Op>
struct Rows {
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  static constexpr int E = Op::kPerElement;
  static constexpr bool kInPlace = kSame<S, typename Op::Acc>;

  static constexpr int64_t kMaxCopied = 1 << 20;  // numbers

  const S* data;
  int64_t stride, rows, features;
  Storage* copy;   // [rows][round_up(features, E)]: where `data` cannot be read as elements
  Element* pairs;  // [ceil(rows / 2)][features], dot products only

  static int64_t padded(int64_t features) { return round_up(features, E); }
  // Pairs of features are read in place if rows are made of whole pairs. Rows far apart fall into the same
  // few sets of a cache: they are put together, if a cache can hold them all.
  static bool needs_copy(int64_t rows, int64_t features, int64_t stride) {
    if (!kInPlace && (E == 1 || features % E || stride % E)) return true;
    return stride != features && rows * features <= kMaxCopied;
  }

  void layout(Scratch& s, int64_t n, int64_t width, int64_t row_stride, bool across_keys) {
    rows = n, features = width, stride = row_stride;
    copy = s.take<Storage>(needs_copy(n, width, row_stride) ? n * padded(width) : 0);
    pairs = s.take<Element>(E == 2 && across_keys ? ceil_div(n, 2) * width : 0);
  }
  void load_head(const Heads& t, int64_t b, int64_t h, Range used) {  // rows, from an even one
    data = (const S*)t.data + b * t.batch + h * t.head;
    if (copy)
      for (int64_t j = used.begin; j < used.end; j++)
        copy_row<Op>(copy + j * padded(features), data + j * stride, features, padded(features));
    if (pairs)
      for (int64_t j = used.begin; j < used.end; j += 2)
        interleave(pairs + j / 2 * features, data + j * stride,
                   j + 1 < rows ? data + (j + 1) * stride : nullptr);
  }

  // c [count][NV * L] = rows from..from+count times b, a packed panel [features][NV * L].
  template <int NV>
  void matmul(int64_t from, int64_t count, const Element* b, typename Op::Acc* c) const {
    constexpr int W = NV * kLanes<typename Op::Acc>;
    const Element* a = copy ? (const Element*)copy : (const Element*)data;
    const int64_t a_row = (copy ? padded(features) : stride) / E;
    for_row_tiles<NV>(count, [&](int64_t r, int n) {
      run_tile<Op, NV>(
          n, {elements<Op>(features), a + (from + r) * a_row, a_row, 1, b, nullptr, 0, c + r * W, W});
    });
  }

  // c [features][NV * L] += the transposed rows from..from+count times b, a panel [count elements][NV * L].
  // `from` must be even.
  template <int NV>
  void matmul_transposed(int64_t from, int64_t count, const Element* b, typename Op::Acc* c) const {
    constexpr int W = NV * kLanes<typename Op::Acc>;
    const Element* a;
    int64_t a_k;
    if (E == 2)
      a = pairs + from / E * features, a_k = features;
    else
      a_k = copy ? padded(features) : stride,
      a = (copy ? (const Element*)copy : (const Element*)data) + from * a_k;
    for_row_tiles<NV>(features, [&](int64_t r, int n) {
      run_tile<Op, NV>(n, {elements<Op>(count), a + r, 1, a_k, b, c + r * W, W, c + r * W, W});
    });
  }

  // The same sum, but a masked weight contributes nothing even where the row holds no number.
  template <int NV, class IsMasked>
  void matmul_transposed_visible(int64_t from, int64_t count, const typename Op::Acc* weights,
                                 typename Op::Acc* c, IsMasked is_masked) const {
    using A = typename Op::Acc;
    constexpr int L = kLanes<A>;
    for (int64_t j = 0; j < count; j++)
      for (int64_t f = 0; f < features; f++) {
        const A x = load_n<A>(data + (from + j) * stride + f, 1)[0];
        for (int v = 0; v < NV; v++) {
          const Vec<A> w = load<A>(weights + (j * NV + v) * L);
          A* to = c + (f * NV + v) * L;
          store(to, load<A>(to) + (is_masked(w) ? Vec<A>{} : w * x));
        }
      }
  }

  bool finite(int64_t from, int64_t count) const {
    using A = typename Op::Acc;
    Vec<A> sum{};
    for (int64_t j = from; j < from + count; j++)
      for (int64_t f = 0; f < features; f += kLanes<A>)
        sum += load_n<A>(data + j * stride + f, features - f) * A(0);
    A total = 0;
    for (int l = 0; l < kLanes<A>; l++) total += sum[l];
    return total == 0;
  }

 private:
  void interleave(Element* to, const S* even, const S* odd) {
    if constexpr (E == 2)
      for (int64_t f = 0; f < features; f++) to[f] = {even[f], odd ? odd[f] : S(0)};
  }
};

// A block [keys][NV * L] as a right operand, k = key: in place, or rounded to pairs in `to`.
template <class Op, int NV>
inline const typename Op::Element* as_rhs(const typename Op::Acc* block, int64_t keys,
                                          typename Op::Element* to) {
  if constexpr (Op::kPerElement == 1) {
    return block;
  } else {
    using A = typename Op::Acc;
    constexpr int L = kLanes<A>;
    for (int64_t j = 0; j < keys; j += 2)
      for (int v = 0; v < NV; v++) {
        const A* even = block + (j * NV + v) * L;
        const Vec<A> odd = j + 1 < keys ? load<A>(even + NV * L) : Vec<A>{};
        store_pairs(to + (j / 2 * NV + v) * L, load<A>(even), odd);
      }
    return to;
  }
}

// A block [keys][NV * L] as a left operand, k = query: in place, or rounded in `to`.
template <class Op, int NV>
inline const typename Op::Element* as_lhs(const typename Op::Acc* block, int64_t keys,
                                          typename Op::Storage* to) {
  using A = typename Op::Acc;
  if constexpr (Op::kPerElement == 1) {
    return block;
  } else {
    for (int64_t i = 0; i < keys * NV; i++) store(to + i * kLanes<A>, load<A>(block + i * kLanes<A>));
    return (const typename Op::Element*)to;
  }
}

// Rows of queries as right operands, k = query: panels of up to kFeatureVectors vectors of features.
constexpr int kFeatureVectors = kRegisters == 32 ? 4 : 2;

template <class S, class Op>
struct QueryRows {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  static constexpr int L = kLanes<A>;

  int64_t features, vectors, panels;
  Element* packed;  // [panels][queries elements][vectors of the panel * L]

  static int64_t padded(int64_t features) { return round_up(features, L); }
  void layout(Scratch& s, int64_t width, int64_t queries) {
    features = width, vectors = ceil_div(width, L), panels = ceil_div(vectors, kFeatureVectors);
    packed = s.take<Element>(elements<Op>(queries) * vectors * L);
  }
  template <class F>
  void for_panels(F f) const {  // f(Int<vectors>, first vector)
    for (int64_t i = 0; i < panels; i++) {
      const Range r = {vectors * i / panels, vectors * (i + 1) / panels};
      with_vectors<kFeatureVectors>(int(r.end - r.begin), [&](auto nv) { f(nv, r.begin); });
    }
  }
  template <class Row>
  void pack(int64_t queries, Row row) {  // row(i): where query i lies, or null for zeros
    for_panels([&](auto nv, int64_t first) {
      pack_from_rows<Op, decltype(nv)::value, S>(
          packed + first * L * elements<Op>(queries), queries, features - first * L,
          [&](int64_t i) -> const S* { return row(i) ? row(i) + first * L : nullptr; });
    });
  }
  // c [count][padded] += left [count][queries] times these.
  void add_products(int64_t queries, int64_t count, const Element* left, A* c) const {
    const int64_t k = elements<Op>(queries), stride = vectors * L;
    for_panels([&](auto nv, int64_t first) {
      constexpr int NV = decltype(nv)::value;
      for_row_tiles<NV>(count, [&](int64_t r, int n) {
        A* to = c + r * stride + first * L;
        run_tile<Op, NV>(n, {k, left + r * k, k, 1, packed + first * L * k, to, stride, to, stride});
      });
    });
  }
};

// A block [features][NV * L], each column times its factor, to the rows of `valid` queries.
template <class S, class A, int NV>
inline void store_transposed(const A* block, int64_t features, const Vec<A>* factor, int64_t valid, S* rows,
                             int64_t stride) {
  constexpr int L = kLanes<A>, W = NV * L;
  for (int64_t f = 0; f < features; f += L)
    for (int v = 0; v < NV; v++) {
      Vec<A> square[L];
      for (int l = 0; l < L; l++)
        square[l] = f + l < features ? load<A>(block + (f + l) * W + v * L) * factor[v] : Vec<A>{};
      transpose<A>(square);
      for (int l = 0; l < L && v * L + l < valid; l++)
        store_n(rows + (v * L + l) * stride + f, square[l], features - f);
    }
}

// A block [keys][NV * L] to the rows of `valid` queries, [query][key].
template <class S, class A, int NV>
inline void store_transposed_block(const A* block, int64_t keys, int64_t valid, S* rows, int64_t stride) {
  Vec<A> ones[NV];
  for (int v = 0; v < NV; v++) ones[v] = splat<A>(1);
  store_transposed<S, A, NV>(block, keys, ones, valid, rows, stride);
}

// Numbers at [query][key], times `scale`, to a block [keys][NV * L]; lanes beyond `valid` repeat the last
// query.
template <class S, class A, int NV>
inline void load_transposed(const S* from, int64_t query_stride, int64_t key_stride, int64_t valid,
                            int64_t keys, A scale, A* block) {
  constexpr int L = kLanes<A>, W = NV * L;
  for (int v = 0; v < NV; v++)
    for (int64_t j = 0; j < keys; j += L) {
      const int64_t n = min(L, keys - j);
      Vec<A> square[L];
      for (int l = 0; l < L; l++) {
        const S* row = from + min(v * L + l, valid - 1) * query_stride + j * key_stride;
        square[l] = load_spaced<A>(row, key_stride, n) * scale;
      }
      transpose<A>(square);
      for (int64_t i = 0; i < n; i++) store(block + (j + i) * W + v * L, square[i]);
    }
}

}  // namespace
}  // namespace pyrnn::attention
