// Cross-entropy and its gradient, a few rows at a time.
#pragma once
#include "common/layer_norm.h"
#include "loss/problem.h"

namespace pyrnn::loss {
namespace {

template <class S, class A>
struct CrossEntropy {
  // Each step goes through all rows of a block, which stay in a core's first cache: short rows need not wait
  // for the lanes of the one before to be joined.
  static void rows(const Problem& problem, int64_t begin, int64_t end) {
    const Problem p = problem;  // a copy: the stores below cannot change it
    const int64_t fit = kFirstCache / (p.V * int64_t(sizeof(S))), most = fit < 1       ? 1
                                                                         : fit < kRows ? fit
                                                                                       : kRows;
    A tops[kRows], targets[kRows], sums[kRows];
    for (int64_t first = begin; first < end; first += most) {
      const int64_t count = end - first < most ? end - first : most;
      for (int64_t i = 0; i < count; i++) tops[i] = maximum((const S*)p.logits + (first + i) * p.V, p.V);
      for (int64_t i = 0; i < count; i++) sums[i] = sum(p, first + i, tops[i], targets[i]);
      for (int64_t i = 0; i < count; i++) ((A*)p.losses)[first + i] += A(__builtin_log(double(sums[i])));
      if (p.gradient)
        for (int64_t i = 0; i < count; i++) gradient(p, first + i, tops[i], sums[i], targets[i]);
    }
  }

  static void total(const Problem& p) {
    const A *losses = (const A*)p.losses, *weights = (const A*)p.weights;
    double sum = *p.total;
    for (int64_t r = 0; r < p.rows; r++) sum += weights ? double(weights[r]) * losses[r] : double(losses[r]);
    *p.total = sum;
  }

 private:
  static constexpr int64_t kRows = 16, kFirstCache = 1 << 14;
  // Whether the powers take the logits' place between sum and gradient; of fewer bits they are made twice.
  static constexpr bool kKeeps = sizeof(S) == sizeof(A);

  static Vec<A> below(const S* z, A top, int64_t count) { return load_n<A>(z, count) - top; }

  // Of the powers; the loss without its logarithm, and the target's logit, below the row's maximum.
  static A sum(const Problem& p, int64_t r, A top, A& at_target) {
    S* z = (S*)p.logits + r * p.V;
    const A e = A(p.smoothing), even = e / A(p.V);
    at_target = load_part<A>(z + p.targets[r], 1)[0] - top;
    A loss = (e - A(1)) * at_target;
    if (e > 0)
      loss -= even * sum_of_row<A>(p.V, [&](int64_t i, int64_t count) {
                return first_lanes<A>(below(z + i, top, count), count);
              });
    ((A*)p.losses)[r] = loss;
    const bool keep = kKeeps && p.gradient;
    return sum_of_row<A>(p.V, [&](int64_t i, int64_t count) {
      const Vec<A> power = VectorMath::exp(below(z + i, top, count));
      if (keep) store_n(z + i, power, count);
      return first_lanes<A>(power, count);
    });
  }

  static void gradient(const Problem& p, int64_t r, A top, A sum, A at_target) {
    S* z = (S*)p.logits + r * p.V;
    const A e = A(p.smoothing), even = e / A(p.V), inverse = A(1) / sum;
    const A weight = p.weights ? ((const A*)p.weights)[r] : A(1);
    for_vectors<A>(p.V, [&](int64_t i, int64_t count, int) {
      const Vec<A> power = kKeeps ? load_n<A>(z + i, count) : VectorMath::exp(below(z + i, top, count));
      store_n(z + i, (power * inverse - even) * weight, count);
    });
    // In this order nothing is left of a target that has all of the probability, whatever e is.
    const Vec<A> own = (VectorMath::exp(splat(at_target)) * inverse - A(1)) + (e - even);
    store_part(z + p.targets[r], own * weight, 1);
  }

  static A maximum(const S* z, int64_t V) {
    Vec<A> tops[kTurns];
    for (Vec<A>& top : tops) top = splat(load_part<A>(z, 1)[0]);
    for_vectors<A>(V, [&](int64_t i, int64_t count, int turn) {
      const Vec<A> v = load_n<A>(z + i, count), top = tops[turn];
      const typename VecTypes<A>::mask larger = v > top;
      tops[turn] = (larger & lanes_below<A>(count)) ? v : top;
    });
    const auto larger = [](Vec<A> a, Vec<A> b) { return b > a ? b : a; };
    return join_lanes<A>(larger(larger(tops[0], tops[1]), larger(tops[2], tops[3])), larger);
  }
};

}  // namespace
}  // namespace pyrnn::loss
