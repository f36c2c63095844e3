// Activations and their derivatives: on vectors with VectorMath (common/vec.h), on numbers of a GPU with
// DeviceMath or FastMath (common/cuda/scalar.h).
#pragma once
#include "common/host_device.h"

namespace pyrnn::pointwise {
namespace {

struct Identity {
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V value(V x) {
    return x;
  }
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V times_derivative(V, V g) {
    return g;
  }
};

struct Relu {
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V value(V x) {
    return Math::relu(x);
  }
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V times_derivative(V x, V g) {
    return Math::where_positive(x, g);
  }
};

// Beyond this on either side exp gives nothing more, and both functions below are 0 or x. Their derivatives
// are taken here instead: farther out a power of x overflows, and infinity times 0 is no number.
template <class A>
constexpr A kFar = sizeof(A) == 4 ? 20 : 45;
template <class A, class V>
PYRNN_HOST_DEVICE PYRNN_INLINE V not_far(V x) {
  return x > kFar<A> ? V{} + kFar<A> : x < -kFar<A> ? V{} - kFar<A> : x;
}

// p[0] + p[1] u + ...
template <class V, class A, int kTerms>
PYRNN_HOST_DEVICE PYRNN_INLINE V polynomial(V u, const A (&p)[kTerms]) {
  V sum = V{} + p[kTerms - 1];
#ifdef __CUDACC__
#  pragma unroll
#endif
  for (int i = kTerms - 2; i >= 0; i--) sum = sum * u + p[i];
  return sum;
}

// With the normal distribution Phi and its density phi,  1 - Phi(y) = exp(-y^2 / 2) t(y) P(t(y))  for y >= 0
// and t(y) = 1 / (1 + y / 5). P interpolates at Chebyshev nodes of t, up to the y from which exp gives
// nothing more; `kToUnit` takes these t to [-1, 1], the variable of the coefficients.
template <class A>
struct NormalTail;
template <>
struct NormalTail<float> {  // relative error 1.3e-8 up to y = 14
  template <class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V of(V t) {
    static constexpr float kToUnit[] = {2.7142857f, -1.7142857f};
    static constexpr float p[] = {0.1970388709f,    0.1481139264f,   0.08964543239f,   0.04345548233f,
                                  0.0164566512f,    0.004568261161f, 0.0007625927978f, -2.822349118e-6f,
                                  -3.349442089e-5f, -4.903287256e-6f};
    return polynomial(t * kToUnit[0] + kToUnit[1], p);
  }
};
template <>
struct NormalTail<double> {  // relative error 3.5e-17 up to y = 38.6
  template <class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V of(V t) {
    static constexpr double kToUnit[] = {2.2590673575129533583, -1.2590673575129533583};
    static constexpr double p[] = {
        0.170503018457361057,     0.140307914741569514,    0.0967657975952471292,    0.0553690597048856894,
        0.025667018562985552,     0.00915617194187264315,  0.00219891004366543022,   0.000170153468900073889,
        -0.000104292767671645116, -3.82276678263263609e-5, 9.29345433474033086e-7,   3.52130122789232194e-6,
        3.61288342319416965e-7,   -3.13007825503849991e-7, -5.74715649500060396e-8,  3.16472602521601371e-8,
        6.72324201951304183e-9,   -3.70082447696398476e-9, -6.46477077916442014e-10, 4.34933586868066582e-10,
        3.98498089984280837e-11,  -3.45864631436645532e-11};
    return polynomial(t * kToUnit[0] + kToUnit[1], p);
  }
};

// x Phi(x)   (Hendrycks and Gimpel, Gaussian Error Linear Units, 2016)
struct Gelu {
  // Phi(x), and exp(-x^2 / 2)
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V normal(V x, V& density) {
    using A = typename Math::template Lane<V>;
    const V y = x < 0 ? -x : x;
    density = Math::exp(A(-0.5) * y * y);
    const V t = Math::inverse(A(1) + A(0.2) * y);
    const V tail = density * t * NormalTail<A>::of(t);
    return x < 0 ? tail : A(1) - tail;
  }
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V value(V x) {
    V density;
    return x * normal<Math>(x, density);
  }
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V times_derivative(V x, V g) {
    using A = typename Math::template Lane<V>;
    V density;
    x = not_far<A>(x);
    const V cumulative = normal<Math>(x, density);
    return g * (cumulative + x * density * A(0.39894228040143267794));
  }
};

// The same paper's approximation, x/2 (1 + tanh u) = x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
struct GeluTanh {
  // sigmoid(2 u); `rest` is 1 minus it, without cancellation: x^3 is about to multiply it.
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V gate(V x, V& rest) {
    using A = typename Math::template Lane<V>;
    const V e = Math::exp(A(-1.5957691216057308) * (x + A(0.044715) * x * x * x));
    const V s = Math::inverse(A(1) + e);
    rest = e * s;
    return s;
  }
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V value(V x) {
    using A = typename Math::template Lane<V>;
    V rest;
    const V s = gate<Math>(x, rest);
    return x * (x < -kFar<A> ? V{} : s);
  }
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V times_derivative(V x, V g) {
    using A = typename Math::template Lane<V>;
    V rest;
    x = not_far<A>(x);
    const V s = gate<Math>(x, rest);
    return g * (s + s * rest * A(1.5957691216057308) * (x + A(3 * 0.044715) * x * x * x));
  }
};

}  // namespace
}  // namespace pyrnn::pointwise
