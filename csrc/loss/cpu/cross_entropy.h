// Cross-entropy and its gradient, row after row.
#pragma once
#include "common/layer_norm.h"
#include "loss/problem.h"

namespace pyrnn::loss {
namespace {

template <class S, class A>
struct CrossEntropy {
  static void rows(const Problem& problem, int64_t begin, int64_t end) {
    const Problem p = problem;  // a copy: the stores below cannot change it
    for (int64_t r = begin; r < end; r++) row(p, r);
  }

  static void total(const Problem& p) {
    const A *losses = (const A*)p.losses, *weights = (const A*)p.weights;
    double sum = *p.total;
    for (int64_t r = 0; r < p.rows; r++) sum += weights ? double(weights[r]) * losses[r] : double(losses[r]);
    *p.total = sum;
  }

 private:
  static void row(const Problem& p, int64_t r) {
    S* z = (S*)p.logits + r * p.V;
    const A top = maximum(z, p.V), e = A(p.smoothing), even = e / A(p.V);
    const auto below_top = [&](int64_t i, int64_t count) { return load_n<A>(z + i, count) - top; };
    const A sum = sum_of_row<A>(p.V, [&](int64_t i, int64_t count) {
      return first_lanes<A>(VectorMath::exp(below_top(i, count)), count);
    });
    const A at_target = load_part<A>(z + p.targets[r], 1)[0] - top;
    A loss = A(__builtin_log(double(sum))) - (A(1) - e) * at_target;
    if (e > 0)
      loss -= even * sum_of_row<A>(p.V, [&](int64_t i, int64_t count) {
                return first_lanes<A>(below_top(i, count), count);
              });
    ((A*)p.losses)[r] = loss;
    if (!p.gradient) return;
    const A weight = p.weights ? ((const A*)p.weights)[r] : A(1), inverse = A(1) / sum;
    for_vectors<A>(p.V, [&](int64_t i, int64_t count, int) {
      store_n(z + i, (VectorMath::exp(below_top(i, count)) * inverse - even) * weight, count);
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
    A top = tops[0][0];
    for (const Vec<A>& v : tops)
      for (int l = 0; l < kLanes<A>; l++) top = v[l] > top ? v[l] : top;
    return top;
  }
};

}  // namespace
}  // namespace pyrnn::loss
