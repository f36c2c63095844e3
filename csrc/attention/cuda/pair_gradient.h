// What a query and a key have to do with each other in the backward pass: their weight once more, and the
// gradient of their score.
#pragma once
#include "attention/cuda/dropout.h"
#include "attention/cuda/scores.h"

namespace pyrnn::attention::cuda {

// Of one row of QueryRows; a row without a visible key has a shift of inf and an inverse of 0, so that its
// weights are 0 whatever its scores are.
template <class A>
struct alignas(16) QueryNumbers {
  A shift, inverse;  // weight = exp(score - shift) * inverse
  A delta;           // sum over keys of weight * d_weight
  int query;
};

// From what the softmax of a row has left.
template <class A>
__device__ __forceinline__ QueryNumbers<A> numbers_of_statistics(A shift, A sum, A delta, int query) {
  return {sum == 0 ? -negative_infinity<A>() : shift, sum == 0 ? A(0) : 1 / sum, delta, query};
}

template <class S, bool kPlain>
struct PairGradient {
  using A = typename Accumulate<S>::type;

  const Problem& p;
  const ScoreTransform<S> transform;
  const bool drops;
  const A kept, of_mean;  // factors of weights that stay, and of g_weights

  __device__ explicit PairGradient(const Problem& of)
      : p(of),
        transform(of),
        drops(!kPlain && of.dropout > 0),
        kept(Dropout::kept<A>(of)),
        of_mean(of.weights_kind == kMeanWeights ? A(1) / A(of.H) : A(1)) {}

  // The weight before dropout; a masked one is -0, also in a row of NaN.
  __device__ __forceinline__ A weight(A product, int64_t b, int64_t h, int t, int j,
                                      const QueryNumbers<A>& of, A* cap_slope) const {
    const A s = kPlain ? transform.scaled(product) : transform.full(product, b, h, t, j, cap_slope);
    return s == negative_infinity<A>() ? A(-0.0) : weight_of<S>(s - of.shift) * of.inverse;
  }

  // The gradient of a returned weight.
  __device__ __forceinline__ A g_weight(int64_t b, int64_t h, int t, int j) const {
    const Scores& g = p.g_weights;
    const int64_t head = p.weights_kind == kMeanWeights ? 0 : h;
    return of_mean *
           widen(static_cast<const S*>(g.data)[b * g.batch + head * g.head + t * g.query + j * g.key]);
  }

  // From x = q.k to the weight as dropout leaves it, but for the factor `kept`; from d = g_out.v to the
  // gradient of scale * x, or of what is added to the score. Both are -0 where the key is masked, and never
  // else.
  template <bool kOfMask = false>
  __device__ __forceinline__ void differentiate(A& x, A& d, bool visible, bool keep, int64_t b, int64_t h,
                                                int t, int j, const QueryNumbers<A>& of) const {
    A cap_slope = 1;
    const A w = visible ? weight(x, b, h, t, j, of, &cap_slope) : A(-0.0);
    x = w;
    if (is_masked_weight(w)) {
      d = A(-0.0);
      return;
    }
    if (!kPlain) {
      if (p.g_weights.data) d += g_weight(b, h, t, j);
      if (drops) {
        d *= keep ? kept : A(0);
        if (!keep) x *= 0;  // a NaN stays
      }
    }
    const A change = w * (d - of.delta) * (kOfMask ? A(1) : cap_slope);
    d = w == 0 ? A(0) : change + A(0);  // + 0: no -0
  }
};

}  // namespace pyrnn::attention::cuda
