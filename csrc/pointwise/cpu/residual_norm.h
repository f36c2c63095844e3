// Layer normalisation of a residual sum, forward and backward, row after row.
//
// Dropout's own passes make the sum and the gradient behind the dropout, of as few rows as hold whole rows of
// random words, and the rows are normalised while they are in cache. Backward, a slice of rows adds its parts
// of d_weight and d_bias to memory of its own.
#pragma once
#include "common/integers.h"
#include "common/layer_norm.h"
#include "pointwise/cpu/dropout.h"

namespace pyrnn::pointwise {
namespace {

template <class S, class A>
struct ResidualNorm {
  static constexpr int64_t L = kLanes<A>;
  using Drop = Dropout<S, A, Identity>;
  static_assert(kNormRows % kPhiloxWords == 0, "a task begins with a row of random words");

  // The fewest rows whose elements are whole rows of random words.
  static int64_t rows_together(int64_t features) {
    return kPhiloxWords / min(features & -features, kPhiloxWords);
  }

  static void forward(const ResidualNormProblem& problem, int64_t begin, int64_t end) {
    const ResidualNormProblem p = problem;  // a copy: the stores below cannot change it
    const int64_t n = p.features;
    const DropoutProblem sum = {p.dtype, kIdentity, p.rows * n, p.seed, p.p, p.x, p.residual, p.summed};
    for (int64_t row = begin, until; row < end; row = until) {
      until = min(row + rows_together(n), end);
      Drop::template run<false>(sum, row * n, until * n);
      for (int64_t r = row; r < until; r++) {
        const S* summed = (const S*)p.summed + r * n;
        const Moments<A> m = moments_of_row(summed, n, A(p.eps));
        ((A*)p.mean)[r] = m.mean;
        ((A*)p.rstd)[r] = m.rstd;
        normalise_row((S*)p.out + r * n, summed, (const S*)p.weight, (const S*)p.bias, n, m);
      }
    }
  }

  static void backward(const ResidualNormProblem& problem, int64_t slice, int64_t begin, int64_t end) {
    const ResidualNormProblem p = problem;
    const int64_t n = p.features;
    A* partial = p.partial ? (A*)p.partial + slice * 2 * n : nullptr;
    for (int64_t i = 0; partial && i < 2 * n; i++) partial[i] = 0;
    void* d = p.d_residual ? p.d_residual : p.d_x;
    const DropoutProblem drop = {p.dtype, kIdentity, p.rows * n, p.seed, p.p, nullptr, d, p.d_x};
    for (int64_t row = begin, until; row < end; row = until) {
      until = min(row + rows_together(n), end);
      for (int64_t r = row; r < until; r++) backward_row(p, r, partial, (S*)d);
      if (p.d_x) Drop::template run<true>(drop, row * n, until * n);
    }
  }

  static void sums(const ResidualNormProblem& p) {
    void* const results[2] = {p.d_weight, p.d_bias};
    for (int which = 0; which < 2; which++)
      for (int64_t i = 0; results[which] && i < p.features; i += L) {
        const int64_t count = min(L, p.features - i);
        Vec<A> total = {};
        for (int64_t slice = 0; slice < p.slices; slice++)
          total += load_n<A>((const A*)p.partial + (slice * 2 + which) * p.features + i, count);
        store_n((S*)results[which] + i, total, count);
      }
  }

 private:
  static void backward_row(const ResidualNormProblem& p, int64_t r, A* partial, S* d) {
    const int64_t n = p.features, at = r * n;
    const S *weight = (const S*)p.weight, *g_summed = (const S*)p.g_summed;
    const A mean = ((const A*)p.mean)[r], rstd = ((const A*)p.rstd)[r];
    struct Part {
      Vec<A> g, h, z;
    };
    const auto part = [&](int64_t i, int64_t count) {
      const Vec<A> g = load_n<A>((const S*)p.g + at + i, count);
      const Vec<A> z = (load_n<A>((const S*)p.summed + at + i, count) - mean) * rstd;
      // Rounded because nothing is left of h in a row whose h are all equal.
      return Part{g, weight ? rounded<Vec<A>>(g * load_n<A>(weight + i, count)) : g, z};
    };
    Vec<A> h_sums[kTurns] = {}, hz_sums[kTurns] = {};
    for_vectors<A>(n, [&](int64_t i, int64_t count, int turn) {
      const Part at_i = part(i, count);
      h_sums[turn] += at_i.h;
      hz_sums[turn] += first_lanes<A>(at_i.h * at_i.z, count);
      if (partial) {
        store_n(partial + i, load_n<A>(partial + i, count) + at_i.g * at_i.z, count);
        store_n(partial + n + i, load_n<A>(partial + n + i, count) + at_i.g, count);
      }
    });
    if (!d) return;
    const A h_mean = sum_of_turns<A>(h_sums) / A(n), hz_mean = sum_of_turns<A>(hz_sums) / A(n);
    for_vectors<A>(n, [&](int64_t i, int64_t count, int) {
      const Part at_i = part(i, count);
      Vec<A> v = (at_i.h - h_mean - at_i.z * hz_mean) * rstd;
      if (g_summed) v += load_n<A>(g_summed + at + i, count);
      store_n(d + at + i, v, count);
    });
  }
};

}  // namespace
}  // namespace pyrnn::pointwise
