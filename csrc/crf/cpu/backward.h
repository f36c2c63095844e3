// Derivatives of the logarithm of the sum over all paths. With p the probability of a tag at a step, of a
// pair at two steps,
//
//   d_emissions[t, b, j] = g[b] p(y_t = j)        d_start, d_end: those of the first and last step
//   d_transitions[i, j]  = sum_{t, b} g[b] p(y_{t-1} = i, y_t = j)
//
// The rows go back through the steps as they came; beta is the logarithm of what follows a tag. Of a pair
// whose second tag has the probability p_j, the first one is i with probability exp(alpha_i) E_ij / sum_i'
// exp(alpha_i') E_i'j, E the table of exp(M_ij - peak_j): a step adds an outer product of exp(alpha) and p /
// sum, and the table multiplies all of them once. A column whose sum is so small that its terms may have
// vanished is added one term after another. 6 C^2 operations a row and step.
#pragma once
#include "crf/cpu/forward.h"

namespace pyrnn::crf {
namespace {

template <class S>
struct Backward {
  using Sums = LogSums<S>;
  using A = typename Sums::A;
  using Op = typename Sums::Op;
  static constexpr int L = Sums::L, kRows = Sums::kRows, kVectors = Sums::kVectors, kColumns = Sums::kColumns;

  const Problem& p;
  int64_t stride;
  Sums into, from;                               // over the first tag of a pair, and over the second
  A *rows, *exps, *sums, *weights;               // weights: [panels][kRows][kColumns]
  A *products, *terms, *first_step, *last_step;  // sums of a group of blocks, [C][stride] and [stride]

  explicit Backward(const Problem& problem)
      : p(problem),
        stride(Sums::padded(p.C)),
        into{p.C, (const S*)p.transitions, p.C, 1, nullptr, nullptr},
        from{p.C, (const S*)p.transitions, 1, p.C, nullptr, nullptr} {}

  size_t table(char* base) {
    Scratch s{base};
    into.layout(s), from.layout(s);
    return s.used;
  }
  size_t scratch(char* base) {
    Scratch s{base};
    rows = s.take<A>(kRows * stride), exps = s.take<A>(kRows * stride);
    sums = s.take<A>(kRows * stride), weights = s.take<A>(kRows * stride);
    return s.used;
  }
  size_t group_sums(char* base) {
    Scratch s{base};
    products = s.take<A>(p.C * stride), terms = s.take<A>(p.C * stride);
    first_step = s.take<A>(stride), last_step = s.take<A>(stride);
    return s.used;
  }

  void run(const Block& block) {
    bool infinite[kRows] = {};
    int active = 0;
    for (int64_t t = block.length[0] - 1; t >= 0; t--) {
      for (; active < block.count && block.length[active] > t; active++) begin(active, infinite[active]);
      for (int r = 0; r < active; r++) {
        const int64_t b = block.rows[r];
        A* row = rows + r * stride;
        if (((const A*)p.log_z)[b] == kNone<A>) {  // there is no path, and nothing to be derived
          skip(t, b, r, row);
          continue;
        }
        give(t, b, r, t == block.length[r] - 1);
        if (t == 0) continue;
        const S* emissions = (const S*)p.emissions + t * p.stride_t + b * p.stride_b;
        for (int64_t i = 0; i < p.C; i += L)
          store(row + i, load<A>(row + i) + load_n<A>(emissions + i, p.C - i));
        shift_to_zero(row, p.C, infinite[r]);
      }
      if (t == 0) break;
      if (p.d_transitions) add_pairs(t, block, active);
      from.run(rows, infinite, active, exps, sums);
      for (int r = 0; r < active; r++) shift_to_zero(rows + r * stride, p.C, infinite[r]);
    }
  }

  // From the sums of all groups, `bytes` apart.
  void finish(char* all, size_t bytes, int64_t groups) {
    const auto total = [&](A* Backward::* array, int64_t i) {
      Vec<A> sum{};
      for (int64_t group = 0; group < groups; group++) {
        group_sums(all + size_t(group) * bytes);
        sum += load<A>(this->*array + i);
      }
      return sum;
    };
    for (int64_t j = 0; j < p.C; j += L) {
      const int64_t left = p.C - j;
      if (p.d_start) store_n((S*)p.d_start + j, total(&Backward::first_step, j), left);
      if (p.d_end) store_n((S*)p.d_end + j, total(&Backward::last_step, j), left);
      const A* table = into.panels + j / kColumns * p.C * kColumns + j % kColumns;
      for (int64_t i = 0; p.d_transitions && i < p.C; i++)
        store_n((S*)p.d_transitions + i * p.C + j,
                total(&Backward::products, i * stride + j) * load<A>(table + i * kColumns) +
                    total(&Backward::terms, i * stride + j),
                left);
    }
  }

 private:
  const A* alpha(int64_t t, int64_t b) const { return (const A*)p.alpha + (t * p.B + b) * p.C; }
  A* weight(int64_t j, int r) const { return weights + (j / kColumns * kRows + r) * kColumns + j % kColumns; }

  // Behind its last step.
  void begin(int r, bool& infinite) const {
    A* row = rows + r * stride;
    for (int64_t i = 0; i < stride; i += L)
      store(row + i, p.end && i < p.C ? load_n<A>((const S*)p.end + i, p.C - i) : Vec<A>{});
    shift_to_zero(row, p.C, infinite);
  }

  // The probabilities of a step, times g.
  void give(int64_t t, int64_t b, int r, bool last) const {
    A* z = exps;  // free until the next sums
    const A *before = alpha(t, b), *beta = rows + r * stride;
    for (int64_t i = 0; i < p.C; i += L) store(z + i, load<A>(beta + i) + load_n<A>(before + i, p.C - i));
    bool infinite;
    shift_to_zero(z, p.C, infinite);
    Vec<A> partial{};
    for (int64_t i = 0; i < p.C; i += L) {
      const Vec<A> x = load<A>(z + i);
      const Vec<A> e = first_lanes<A>(infinite ? x - x : exp_or_zero(x), p.C - i);  // infinity - itself: NaN
      partial += e;
      store(z + i, e);
    }
    A sum = partial[0];
    for (int l = 1; l < L; l++) sum += partial[l];
    const A scale = ((const A*)p.g)[b] / sum;
    S* to = (S*)p.d_emissions + (t * p.B + b) * p.C;
    for (int64_t i = 0; i < p.C; i += L) {
      const Vec<A> d = load<A>(z + i) * scale;
      store(weight(i, r), d);
      if (p.d_emissions) store_n(to + i, d, p.C - i);
      if (t == 0) store(first_step + i, load<A>(first_step + i) + d);
      if (last) store(last_step + i, load<A>(last_step + i) + d);
    }
  }

  void skip(int64_t t, int64_t b, int r, A* row) const {
    S* to = (S*)p.d_emissions + (t * p.B + b) * p.C;
    for (int64_t i = 0; p.d_emissions && i < p.C; i += L) store_n(to + i, Vec<A>{}, p.C - i);
    for (int64_t i = 0; i < stride; i += L) store(row + i, Vec<A>{}), store(weight(i, r), Vec<A>{});
  }

  // The pairs of the steps t - 1 and t, whose second tags `weights` has the probabilities of.
  void add_pairs(int64_t t, const Block& block, int active) const {
    for (int r = 0; r < active; r++) {
      const A* before = alpha(t - 1, block.rows[r]);
      for (int64_t i = 0; i < stride; i += L)
        store(exps + r * stride + i, i < p.C ? exp_or_zero(load_n<A>(before + i, p.C - i)) : Vec<A>{});
    }
    into.multiply(exps, active, sums);
    for (int r = 0; r < active; r++) {
      const int64_t b = block.rows[r];
      const bool exact = !is_finite(((const A*)p.log_z)[b]);
      for (int64_t j = 0; j < p.C; j += L) {
        const Vec<A> sum = load<A>(sums + r * stride + j), second = load<A>(weight(j, r));
        const auto fits = sum >= Sums::kTiny;
        store(weight(j, r), fits ? second / sum : Vec<A>{});
        for (int l = 0; l < L && j + l < p.C; l++)
          if ((exact || !fits[l]) && second[l] != 0) {
            *(weight(j, r) + l) = 0;
            add_column(alpha(t - 1, b), j + l, second[l]);
          }
      }
    }
    for (int64_t j = 0; j < p.C; j += kColumns)
      for_row_tiles<kVectors>(p.C, [&](int64_t i, int count) {
        A* to = products + i * stride + j;
        run_tile<Op, kVectors>(count, {active, exps + i, 1, stride, weight(j, 0), to, stride, to, stride});
      });
  }

  // The pairs whose second tag, of probability `second`, is j.
  void add_column(const A* before, int64_t j, A second) const {
    const auto term = [&](int64_t i) { return double(before[i]) + number<A>(into.M + i * p.C + j); };
    const double all = exact_log_sum(p.C, term);
    for (int64_t i = 0; i < p.C; i++) terms[i * stride + j] += second * A(__builtin_exp(term(i) - all));
  }
};

}  // namespace
}  // namespace pyrnn::crf
