// Packing: matrices and rows into the layouts that the micro-kernel reads.
//
// A panel is [K elements][NV * lanes], an element being one k, or two neighbours for bfloat16 dot products.
// S is the memory type of the source; Op::Storage what the packed numbers are.
#pragma once
#include "common/micro_kernel.h"
#include "common/scratch.h"

namespace pyrnn {
namespace {

// ---- tiles of rows: as even as they go, none above the register limit
template <int NV, class F>
inline void for_row_tiles(int64_t rows, F f) {
  int64_t tiles = ceil_div(rows, max_rows(NV));
  for (int64_t i = 0; i < tiles; i++) {
    Range r = {rows * i / tiles, rows * (i + 1) / tiles};
    f(r.begin, int(r.end - r.begin));
  }
}

template <class X, class Y>
constexpr bool kSame = false;
template <class X>
constexpr bool kSame<X, X> = true;

template <class Op>
constexpr int64_t elements(int64_t k) {  // of Op, holding k numbers
  return ceil_div(k, Op::kPerElement);
}

// Rounds to what memory of type S would hold.
template <class S, class A>
inline Vec<A> as_stored(Vec<A> v) {
  if constexpr (kSame<S, A>) return v;
  S buffer[kLanes<A>];
  store(buffer, v);
  return load<A>(buffer);
}

// Converts n numbers, then writes zeros up to `padded`.
template <class Op, class S>
inline void copy_row(typename Op::Storage* to, const S* from, int64_t n, int64_t padded) {
  using A = typename Op::Acc;
  int64_t i = 0;
  if (from) {
    for (; i + kLanes<A> <= n; i += kLanes<A>) store(to + i, load<A>(from + i));
    if (i < n) {
      store_n(to + i, load_n<A>(from + i, n - i), n - i);
      i = n;
    }
  }
  for (; i < padded; i++) to[i] = 0;
}

// ---- square transposition in registers: log2(lanes) rounds of interleaving
template <class T>
inline void transpose(Vec<T>* v) {
  constexpr int L = kLanes<T>;
#if defined(__GNUC__) && !defined(__clang__)
  typename VecTypes<T>::mask low, high;
  for (int i = 0; i < L; i++) {
    low[i] = (i % 2) * L + i / 2;
    high[i] = (i % 2) * L + L / 2 + i / 2;
  }
#  pragma GCC unroll 4
  for (int round = 1; round < L; round *= 2) {
    Vec<T> next[L];
#  pragma GCC unroll 8
    for (int i = 0; i < L / 2; i++) {
      next[2 * i] = __builtin_shuffle(v[i], v[i + L / 2], low);
      next[2 * i + 1] = __builtin_shuffle(v[i], v[i + L / 2], high);
    }
#  pragma GCC unroll 16
    for (int i = 0; i < L; i++) v[i] = next[i];
  }
#else
  for (int i = 0; i < L; i++)
    for (int j = 0; j < i; j++) {
      T x = v[i][j];
      v[i][j] = v[j][i];
      v[j][i] = x;
    }
#endif
}

// a and b interleaved, from lane `first` of each group of `group` lanes on: half of both.
#if defined(__GNUC__) && !defined(__clang__)
template <class T>
inline Vec<T> interleave(Vec<T> a, Vec<T> b, int first, int group, int width) {
  constexpr int L = kLanes<T>;
  typename VecTypes<T>::mask from;
  for (int i = 0; i < L; i++) {
    const int in = i % group, pair = in / (2 * width), from_b = in / width % 2;
    from[i] = i - in + first + pair * width + in % width + from_b * L;
  }
  return __builtin_shuffle(a, b, from);
}
#endif

// Lane l of the result is the sum of v[l], which are lost. In blocks of 16 bytes first, within which numbers
// move at no cost, then across them.
template <class T>
inline Vec<T> horizontal_sums(Vec<T>* v) {
  constexpr int L = kLanes<T>;
#if defined(__GNUC__) && !defined(__clang__)
  constexpr int kBlock = 16 / int(sizeof(T)), kBlocks = L / kBlock;
  const auto add = [](Vec<T> a, Vec<T> b, int group, int width) {
    return interleave<T>(a, b, 0, group, width) + interleave<T>(a, b, group / 2, group, width);
  };
#  pragma GCC unroll 4
  for (int j = 0; j < kBlocks; j++) {  // each block of v[j] becomes sums of v[j * kBlock], and so on
    Vec<T>* u = v + j * kBlock;
    if constexpr (kBlock == 4)
      v[j] = add(add(u[0], u[2], 4, 1), add(u[1], u[3], 4, 1), 4, 1);
    else
      v[j] = add(u[0], u[1], 2, 1);
  }
  if constexpr (kBlocks == 4) return add(add(v[0], v[2], L, L / 2), add(v[1], v[3], L, L / 2), L / 2, kBlock);
  if constexpr (kBlocks == 2) return add(v[0], v[1], L, kBlock);
  return v[0];
#else
  Vec<T> sums;
  for (int l = 0; l < L; l++) {
    sums[l] = v[l][0];
    for (int i = 1; i < L; i++) sums[l] += v[l][i];
  }
  return sums;
#endif
}

// A panel from columns that are contiguous in k: column c starts at column(c), which may be null for zeros.
template <class Op, int NV, class S, class Column>
inline void pack_from_columns(typename Op::Element* panel, int64_t K, Column column) {
  using Storage = typename Op::Storage;
  using A = typename Op::Acc;
  constexpr int L = kLanes<A>, E = Op::kPerElement;
  for (int v = 0; v < NV; v++) {
    const S* source[L];
    for (int l = 0; l < L; l++) source[l] = (const S*)column(v * L + l);
    int64_t k = 0;
    if constexpr (kSame<S, Storage> || E == 1) {
      const auto whole = [](const S* p) {  // A has an element's size: elements travel as A
        if constexpr (kSame<S, Storage>)
          return load<A>((const A*)p);
        else
          return load<A>(p);
      };
      for (; k + L * E <= K; k += L * E) {
        Vec<A> block[L];
        for (int l = 0; l < L; l++) block[l] = source[l] ? whole(source[l] + k) : Vec<A>{};
        transpose<A>(block);
        A* to = (A*)(panel + (k / E) * NV * L + v * L);
        for (int i = 0; i < L; i++) store(to + i * NV * L, block[i]);
      }
    }
    for (; k < round_up(K, E); k++)
      for (int l = 0; l < L; l++) {
        Storage* to = (Storage*)(panel + (k / E) * NV * L + v * L + l) + k % E;
        if (!source[l] || k >= K)
          *to = 0;
        else if constexpr (kSame<S, Storage>)
          *to = source[l][k];
        else
          *to = load_n<A>(source[l] + k, 1)[0];
      }
  }
}

// `panels` neighbouring panels, `stride` elements apart, from rows that are contiguous in n: row k starts at
// row(k), which may be null for zeros; `columns` are valid. Each row is read in one go, which memory serves
// faster than a panel's width at a time.
template <class Op, int NV, class S, class Row>
inline void pack_from_rows(typename Op::Element* to, int64_t stride, int64_t panels, int64_t K,
                           int64_t columns, Row row) {
  using A = typename Op::Acc;
  constexpr int L = kLanes<A>;
  for (int64_t e = 0; e < elements<Op>(K); e++, to += NV * L) {
    if constexpr (Op::kPerElement == 1) {
      const S* p = (const S*)row(e);
      for (int64_t i = 0; i < panels; i++)
        for (int v = 0; v < NV; v++) {
          const int64_t c = (i * NV + v) * L;
          store((A*)(to + i * stride) + v * L, p && c < columns ? load_n<A>(p + c, columns - c) : Vec<A>{});
        }
    } else {
      const S* even = (const S*)row(2 * e);
      const S* odd = 2 * e + 1 < K ? (const S*)row(2 * e + 1) : nullptr;
      for (int64_t i = 0; i < panels; i++)
        for (int v = 0; v < NV; v++) {
          const int64_t c = (i * NV + v) * L;
          Vec<A> x{}, y{};
          if (even && c < columns) x = load_n<A>(even + c, columns - c);
          if (odd && c < columns) y = load_n<A>(odd + c, columns - c);
          store((A*)(to + i * stride) + v * L, (Vec<A>)(((u32_vec)x >> 16) | ((u32_vec)y & 0xffff0000u)));
        }
    }
  }
}

// One panel.
template <class Op, int NV, class S, class Row>
inline void pack_from_rows(typename Op::Element* panel, int64_t K, int64_t columns, Row row) {
  pack_from_rows<Op, NV, S>(panel, 0, 1, K, columns, row);
}

// The transposed left operand of a weight gradient: `count` (at most MR) neighbouring numbers of each of K
// source rows, to [K elements][MR]; sums them over k on the way.
template <class Op, int MR>
inline void pack_transposed_tile(typename Op::Element* to, const typename Op::Storage* from, int64_t stride,
                                 int64_t K, int count, typename Op::Acc* sums) {
  using Storage = typename Op::Storage;
  using A = typename Op::Acc;
  constexpr int E = Op::kPerElement;
  A total[MR] = {};
  // The numbers of one k are read before any is written: memory that might overlap is not copied as vectors.
  const auto pack_element = [&](const Storage* row, int n, bool whole) {
    Storage numbers[E][MR] = {}, mixed[E * MR];
    for (int e = 0; e < (whole ? E : 1); e++)
      __builtin_memcpy(numbers[e], row + e * stride, size_t(n) * sizeof(Storage));
    for (int e = 0; e < E; e++)
      for (int r = 0; r < MR; r++) {
        mixed[r * E + e] = numbers[e][r];
        if constexpr (kSame<Storage, A>)
          total[r] += numbers[e][r];
        else
          total[r] += __builtin_bit_cast(float, uint32_t(numbers[e][r]) << 16);
      }
    __builtin_memcpy((Storage*)to, mixed, sizeof mixed);
  };
  for (int64_t k = 0; k < K; k += E, from += E * stride, to += MR) {
    if (count == MR && k + E <= K)
      pack_element(from, MR, true);  // a constant count unrolls
    else
      pack_element(from, count, k + E <= K);
  }
  for (int r = 0; r < count; r++) sums[r] += total[r];
}

}  // namespace
}  // namespace pyrnn
