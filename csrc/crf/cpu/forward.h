// The logarithm of the sum over all paths. A thread takes a block of rows through all steps; the state of a
// row is kept with its largest element at 0, and the constants add up in double. 2 C^2 operations a row and
// step.
#pragma once
#include "crf/cpu/log_sums.h"

namespace pyrnn::crf {
namespace {

// The row's largest element becomes 0, and is returned; an infinite one stays where it is.
template <class A>
inline A shift_to_zero(A* row, int64_t n, bool& infinite) {
  constexpr int L = kLanes<A>;
  Vec<A> peaks = splat(kNone<A>);
  for (int64_t i = 0; i < n; i += L) {
    const Vec<A> x = load<A>(row + i);
    peaks = (x > peaks) & lanes_below<A>(n - i) ? x : peaks;
  }
  A peak = peaks[0];
  for (int l = 1; l < L; l++) peak = peaks[l] > peak ? peaks[l] : peak;
  infinite = !is_finite(peak);
  if (infinite) return 0;
  for (int64_t i = 0; i < n; i += L) store(row + i, load<A>(row + i) - peak);
  return peak;
}

template <class S>
struct Forward {
  using Sums = LogSums<S>;
  using A = typename Sums::A;
  static constexpr int L = Sums::L, kRows = Sums::kRows;

  const Problem& p;
  int64_t stride;
  Sums into;  // from the tags of a step to those of the next
  A *rows, *exps, *sums;

  explicit Forward(const Problem& problem)
      : p(problem), stride(Sums::padded(p.C)), into{p.C, (const S*)p.transitions, p.C, 1, nullptr, nullptr} {}

  size_t table(char* base) {
    Scratch s{base};
    into.layout(s);
    return s.used;
  }
  size_t scratch(char* base) {
    Scratch s{base};
    rows = s.take<A>(kRows * stride), exps = s.take<A>(kRows * stride), sums = s.take<A>(kRows * stride);
    return s.used;
  }

  void run(const Block& block) {
    double constant[kRows] = {};
    bool infinite[kRows] = {};
    int active = block.count;
    for (int64_t t = 0; t < block.length[0]; t++) {
      while (block.length[active - 1] <= t) active--;
      if (t == 0)
        for (int r = 0; r < active; r++) begin(rows + r * stride);
      else
        into.run(rows, infinite, active, exps, sums);
      for (int r = 0; r < active; r++) {
        A* row = rows + r * stride;
        const int64_t b = block.rows[r];
        add((const S*)p.emissions + t * p.stride_t + b * p.stride_b, row);
        constant[r] += shift_to_zero(row, p.C, infinite[r]);
        if (!p.alpha) continue;
        A* kept = (A*)p.alpha + (t * p.B + b) * p.C;
        for (int64_t i = 0; i < p.C; i += L) store_n(kept + i, load<A>(row + i), p.C - i);
      }
    }
    for (int r = 0; r < block.count; r++)
      ((A*)p.log_z)[block.rows[r]] = A(total(r, block.length[r], constant[r]));
  }

 private:
  void begin(A* row) const {
    for (int64_t i = 0; i < stride; i += L)
      store(row + i, p.start && i < p.C ? load_n<A>((const S*)p.start + i, p.C - i) : Vec<A>{});
  }
  void add(const S* emissions, A* row) const {
    for (int64_t i = 0; i < p.C; i += L) store(row + i, load<A>(row + i) + load_n<A>(emissions + i, p.C - i));
  }
  double total(int r, int64_t length, double constant) const {
    if (!length) return 0;  // one path, of no steps
    const A* row = rows + r * stride;
    return constant + exact_log_sum(p.C, [&](int64_t i) {
             return p.end ? double(row[i]) + number<A>((const S*)p.end + i) : double(row[i]);
           });
  }
};

}  // namespace
}  // namespace pyrnn::crf
