// Logarithms of sums over tags, a table of transitions at a time.
//
//   out_j = log sum_i exp(a_i + M_ij)
//
// For rows a whose largest element is 0 that is a product: of exp(a) with exp(M_ij - peak_j), peak_j the
// largest of column j, so that a tag costs an exponential and a logarithm and a pair of tags one
// multiply-add. Where a sum comes out so small that terms of it may have vanished, or an infinity is about,
// it is taken again one term after another.
#pragma once
#include "common/operand.h"
#include "common/pack.h"
#include "crf/problem.h"

namespace pyrnn::crf {
namespace {

template <class A>
constexpr A kNone = A(-__builtin_inf());  // the logarithm of 0

inline bool is_finite(double x) { return x - x == 0; }

// exp(x) for x <= 0; what would be below the normal numbers is 0. NaN stays.
template <class V>
inline V exp_or_zero(V x) {
  return x < ExpConstants<Lane<V>>::low ? V{} : VectorMath::exp(x);
}

template <class A, class S>
inline A number(const S* p) {
  return load_n<A>(p, 1)[0];
}

// log sum exp of n terms, in double.
template <class Term>
inline double exact_log_sum(int64_t n, Term term) {
  double peak = kNone<double>, sum = 0;
  for (int64_t i = 0; i < n; i++) {
    const double x = term(i);
    if (x != x) return x;
    if (x > peak) peak = x;
  }
  if (!is_finite(peak)) return peak;
  for (int64_t i = 0; i < n; i++) sum += __builtin_exp(term(i) - peak);
  return peak + __builtin_log(sum);
}

template <class S>
struct LogSums {
  using A = typename OperandOf<S>::type::Acc;
  using Op = PlainOperand<A>;
  static constexpr int L = kLanes<A>, kVectors = 2, kColumns = kVectors * L, kRows = max_rows(kVectors);
  // Of a sum below it, lost terms, each below exp(ExpConstants::low), could reach the last digits.
  static constexpr A kTiny = A(sizeof(A) == sizeof(float) ? 1e-25 : 1e-250);

  int64_t C;
  const S* M;
  int64_t in, out;    // M_ij at M[i * in + j * out]
  A *panels, *peaks;  // [ceil(C / kColumns)][C][kColumns], [padded(C)]

  static int64_t padded(int64_t C) { return round_up(C, kColumns); }
  void layout(Scratch& s) {
    panels = s.take<A>(padded(C) * C);
    peaks = s.take<A>(padded(C));
  }
  void prepare() const {
    for (int64_t begin = 0; begin < C; begin += kColumns) {
      A* panel = panels + begin * C;
      if (out == 1)
        pack_from_rows<Op, kVectors, S>(panel, C, C - begin, [&](int64_t i) { return M + i * in + begin; });
      else
        pack_from_columns<Op, kVectors, S>(
            panel, C, [&](int64_t j) -> const S* { return begin + j < C ? M + (begin + j) * out : nullptr; });
      for (int v = 0; v < kVectors; v++) {
        A* first = panel + v * L;
        Vec<A> peak = splat(kNone<A>);
        for (int64_t i = 0; i < C; i++) {
          const Vec<A> x = load<A>(first + i * kColumns);
          peak = x > peak ? x : peak;
        }
        peak = peak == kNone<A> ? Vec<A>{} : peak;  // nothing leads here: zeros
        store(peaks + begin + v * L, peak);
        for (int64_t i = 0; i < C; i++)
          store(first + i * kColumns, exp_or_zero(load<A>(first + i * kColumns) - peak));
      }
    }
  }

  // sum_i exps_i exp(M_ij - peak_j) of rows [count][padded(C)].
  void multiply(const A* exps, int count, A* sums) const {
    const int64_t stride = padded(C);
    for (int64_t begin = 0; begin < C; begin += kColumns)
      run_tile<Op, kVectors>(count,
                             {C, exps, stride, 1, panels + begin * C, nullptr, 0, sums + begin, stride});
  }

  // Rows a, [count][padded(C)], become their sums. `exact`: of each, whether an infinity is about, so that
  // its largest element is not 0. Scratch of the same shape: exps, sums.
  void run(A* rows, const bool* exact, int count, A* exps, A* sums) const {
    const int64_t stride = padded(C);
    for (int64_t i = 0; i < count * stride; i += L) store(exps + i, exp_or_zero(load<A>(rows + i)));
    for (int64_t begin = 0; begin < C; begin += kColumns)
      run_tile<Op, kVectors>(count,
                             {C, exps, stride, 1, panels + begin * C, nullptr, 0, sums + begin, stride});
    for (int r = 0; r < count; r++)
      if (exact[r] || !take_logarithms(rows + r * stride, sums + r * stride))
        take_exactly(rows + r * stride, exact[r], sums + r * stride);
  }

 private:
  // Whether no sum was too small; if one was, the row stays.
  bool take_logarithms(A* row, const A* sums) const {
    typename VecTypes<A>::mask small{};
    for (int64_t j = 0; j < C; j += L) small |= ~(load<A>(sums + j) >= kTiny) & lanes_below<A>(C - j);
    for (int l = 0; l < L; l++)
      if (small[l]) return false;
    for (int64_t j = 0; j < C; j += L) store(row + j, log(load<A>(sums + j)) + load<A>(peaks + j));
    return true;
  }

  void take_exactly(A* row, bool all, A* sums) const {
    for (int64_t j = 0; j < C; j++)
      if (!all && sums[j] >= kTiny)
        sums[j] = A(__builtin_log(sums[j])) + peaks[j];
      else
        sums[j] =
            A(exact_log_sum(C, [&](int64_t i) { return double(row[i]) + number<A>(M + i * in + j * out); }));
    for (int64_t j = 0; j < C; j++) row[j] = sums[j];
  }
};

}  // namespace
}  // namespace pyrnn::crf
