// The product of a few rows with a matrix that is read where it lies, once, row by row.
//
// Packing reads and writes every number of the matrix, which only pays where the panels are used by more
// rows.
#pragma once
#include "common/pack.h"

namespace pyrnn {
namespace {

template <class A>
inline A number(const A* p) {
  return *p;
}
template <class A>
inline A number(const bf16* p) {
  return __builtin_bit_cast(float, uint32_t(*p) << 16);
}

// c [kRows][n] += a [kRows][K] b [K][n], each with its row stride; sums over 32 neighbouring k are added up
// by themselves first.
template <class Op, class S, int kRows>
void add_product(int64_t K, const typename Op::Storage* a, int64_t a_row, const S* b, int64_t b_row,
                 int64_t n, typename Op::Acc* c, int64_t c_row) {
  using A = typename Op::Acc;
  constexpr int L = kLanes<A>, kVectors = 2, kTogether = 32;
  for (int64_t first = 0; first < K; first += kTogether) {
    const int64_t last = min(first + kTogether, K);
    for (int64_t j = 0; j < n; j += kVectors * L) {
      Vec<A> sum[kRows][kVectors] = {};
      const bool whole = j + kVectors * L <= n;
      for (int64_t k = first; k < last; k++) {
        const S* row = b + k * b_row + j;
        Vec<A> x[kVectors];
        for (int v = 0; v < kVectors; v++)
          x[v] = whole           ? load<A>(row + v * L)
                 : j + v * L < n ? load_n<A>(row + v * L, n - j - v * L)
                                 : Vec<A>{};
#pragma GCC unroll 4
        for (int r = 0; r < kRows; r++) {
          const Vec<A> factor = splat<A>(number<A>(a + r * a_row + k));
          for (int v = 0; v < kVectors; v++) sum[r][v] += factor * x[v];
        }
      }
      for (int r = 0; r < kRows; r++)
        for (int v = 0; v < kVectors && j + v * L < n; v++) {
          A* to = c + r * c_row + j + v * L;
          store_n(to, load_n<A>(to, n - j - v * L) + sum[r][v], n - j - v * L);
        }
    }
  }
}

// The same for `rows` from 1 to kMost.
template <class Op, class S, int kMost>
void add_product_of_few(int64_t rows, int64_t K, const typename Op::Storage* a, int64_t a_row, const S* b,
                        int64_t b_row, int64_t n, typename Op::Acc* c, int64_t c_row) {
  if (rows == kMost) return add_product<Op, S, kMost>(K, a, a_row, b, b_row, n, c, c_row);
  if constexpr (kMost > 1) add_product_of_few<Op, S, kMost - 1>(rows, K, a, a_row, b, b_row, n, c, c_row);
}

}  // namespace
}  // namespace pyrnn
