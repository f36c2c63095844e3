// Products of a few rows with a matrix that is read where it lies, once.
//
// Packing reads and writes every number of the matrix, which only pays where the panels are used by more
// rows.
#pragma once
#include "common/pack.h"

namespace pyrnn {
namespace {

constexpr int kFewRows = 4;  // that share what is read of the matrix
// A single row waits for memory, and from here on memory comes fastest in the order in which it lies.
constexpr int64_t kLongRow = 256;

// ---- a W^T: dot products along the rows of W

// to[r * lanes + c] = lanes of a dot product of row r of x with w[c], R rows and C columns at once, each in
// `kParts` sums side by side; sums of kChain vectors are added up by themselves first.
template <class Op, class S, int R, int C, int kParts = 1>
inline void dot_lanes(int64_t K, const typename Op::Storage* x, int64_t x_row, const S* const* w,
                      Vec<typename Op::Acc>* to) {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  // Numbers as they are, pairs of them where there are their products; else converted to A.
  constexpr bool kElements = kSame<S, typename Op::Storage>;
  constexpr int64_t kStep = kLanes<A> * (kElements ? Op::kPerElement : 1), kChain = 32;
  const auto load_x = [](const typename Op::Storage* p) {
    if constexpr (kElements)
      return Op::load_b((const Element*)p);
    else
      return load<A>(p);
  };
  // Several rows of W at once are several streams, which memory serves slowly: those of the next columns are
  // asked for meanwhile in the order in which they lie.
  constexpr int64_t kStepBytes = C * kStep * int64_t(sizeof(S));
  const char* behind = (const char*)(w[0] + kLanes<A> * K);
  const auto fetch = [&] {
    for (int64_t b = 0; C > 1 && b < kStepBytes; b += 64) __builtin_prefetch(behind + b, 0, 2);
    behind += kStepBytes;
  };
  const auto multiply = [](Vec<A>& sum, auto row, const S* p) {
    if constexpr (kElements)
      Op::multiply(sum, row, Op::load_b((const Element*)p));
    else
      sum += row * load<A>(p);
  };
  int64_t k = 0;
  bool first = true;
  do {
    const int64_t end = min(k + kChain * kParts * kStep, K);
    Vec<A> sum[R][C][kParts] = {};
    for (; k + kParts * kStep <= end; k += kParts * kStep)
      for (int part = 0; part < kParts; part++) {
        const int64_t at = k + part * kStep;
        decltype(load_x(x)) row[R];
        for (int r = 0; r < R; r++) row[r] = load_x(x + r * x_row + at);
        fetch();
        for (int c = 0; c < C; c++)
          for (int r = 0; r < R; r++) multiply(sum[r][c][part], row[r], w[c] + at);
      }
    if (end == K)
      for (; k < K; k += kLanes<A>)
        for (int c = 0; c < C; c++)
          for (int r = 0; r < R; r++)
            sum[r][c][0] += load_n<A>(x + r * x_row + k, K - k) * load_n<A>(w[c] + k, K - k);
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) {
        for (int part = 1; part < kParts; part++) sum[r][c][0] += sum[r][c][part];
        Vec<A>& total = to[r * kLanes<A> + c];
        total = first ? sum[r][c][0] : total + sum[r][c][0];
      }
    first = false;
  } while (k < K);
}

// sums[r] = the products of row r of x with `columns` rows of W, at most L; 0 in the other lanes. `w` points
// to all L: behind those that count, to any. At most R rows.
template <class Op, class S, int R = kFewRows>
inline void dot_rows(int64_t rows, int64_t K, const typename Op::Storage* x, int64_t x_row, const S* const* w,
                     int64_t columns, Vec<typename Op::Acc>* sums) {
  using A = typename Op::Acc;
  constexpr int L = kLanes<A>, kSums = kRegisters == 32 ? 16 : 8;  // that stay in registers
  constexpr int kAtOnce = R == 1 ? 8 : R == 3 ? kSums / 4 : R > 4 ? kSums / 8 : kSums / R;  // divides L
  constexpr int C = kAtOnce < L ? kAtOnce : L;
  if constexpr (R > 1)
    if (rows < R) return dot_rows<Op, S, R - 1>(rows, K, x, x_row, w, columns, sums);
  Vec<A> lanes[R * L];
  if (columns < L)
    for (Vec<A>& each : lanes) each = Vec<A>{};
  if (R == 1 && K >= kLongRow)
    for (int l = 0; l < columns; l++) dot_lanes<Op, S, 1, 1, 2>(K, x, x_row, w + l, lanes + l);
  else
    for (int l = 0; l < columns; l += C) dot_lanes<Op, S, R, C>(K, x, x_row, w + l, lanes + l);
  for (int r = 0; r < R; r++) sums[r] = first_lanes<A>(horizontal_sums<A>(lanes + r * L), columns);
}

// ---- a B: sums of the rows of B

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
template <class Op, class S, int kMost = kFewRows>
void add_product_of_few(int64_t rows, int64_t K, const typename Op::Storage* a, int64_t a_row, const S* b,
                        int64_t b_row, int64_t n, typename Op::Acc* c, int64_t c_row) {
  if (rows == kMost) return add_product<Op, S, kMost>(K, a, a_row, b, b_row, n, c, c_row);
  if constexpr (kMost > 1) add_product_of_few<Op, S, kMost - 1>(rows, K, a, a_row, b, b_row, n, c, c_row);
}

}  // namespace
}  // namespace pyrnn
