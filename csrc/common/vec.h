// Vectors of one instruction set: loads, stores, exp, sigmoid, tanh.
//
// Included only by translation units that are compiled once per instruction set with
//   PYRNN_ISA           its name
//   PYRNN_VECTOR_BYTES  16, 32 or 64
//   PYRNN_BF16_DOT      1 where the set has bfloat16 dot products
// Everything has internal linkage and no standard header with inline functions is included: a shared inline
// function compiled here for AVX-512 could be the copy that the linker keeps for the whole module (a crash on
// older machines).
#pragma once
#include <stdint.h>
#if defined(__AVX2__)
#  include <immintrin.h>
#endif

namespace pyrnn {
namespace {

using bf16 = uint16_t;  // storage only: the upper half of a float

constexpr int kVectorBytes = PYRNN_VECTOR_BYTES;

// Vec<T>: PYRNN_VECTOR_BYTES of T. `load` is the same type with the element's own alignment.
template <class T>
struct VecTypes;
template <>
struct VecTypes<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  // aligned(2): rows of bfloat16 pairs travel as floats too
  typedef float load __attribute__((vector_size(kVectorBytes), aligned(2), may_alias));
  typedef int32_t mask __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecTypes<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef double load __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t mask __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VecTypes<T>::type;

template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));

template <class T>
inline Vec<T> splat(T x) {
  return x - Vec<T>{};
}

// ---- loads and stores: memory type S to arithmetic type A (float for bfloat16, else S itself)
typedef uint16_t u16_load __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
typedef uint16_t u16_vec __attribute__((vector_size(kVectorBytes / 2)));
typedef uint32_t u32_vec __attribute__((vector_size(kVectorBytes)));

template <class A>
inline Vec<A> load(const A* p) {
  return *(const typename VecTypes<A>::load*)p;
}
inline void store(float* p, Vec<float> v) { *(VecTypes<float>::load*)p = v; }
inline void store(double* p, Vec<double> v) { *(VecTypes<double>::load*)p = v; }
inline Vec<float> widened(u16_vec v) { return (Vec<float>)(__builtin_convertvector(v, u32_vec) << 16); }
template <class A>
inline Vec<float> load(const bf16* p) {
  return widened(*(const u16_load*)p);
}
template <class A>
inline Vec<A> load(const uint8_t* p) {
  typedef uint8_t bytes __attribute__((vector_size(kLanes<A>), aligned(1), may_alias));
  return __builtin_convertvector(*(const bytes*)p, Vec<A>);
}
inline void store(bf16* p, Vec<float> v) {  // round to nearest even; a NaN stays a (quiet) NaN
  u32_vec bits = (u32_vec)v;
  u32_vec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  u32_vec is_nan = (u32_vec)(v != v);
  u32_vec out = (is_nan & ((bits >> 16) | 0x40u)) | (~is_nan & rounded);
  *(u16_load*)p = __builtin_convertvector(out, u16_vec);
}

// All bits of the first n lanes.
template <class A>
inline typename VecTypes<A>::mask lanes_below(int64_t n) {
  Vec<A> lane;
  for (int l = 0; l < kLanes<A>; l++) lane[l] = A(l);
  return lane < splat(A(n));
}

// Less than a vector: n lanes are read, the others are zero; n lanes are written. By masks where there are
// any, for a detour over memory costs more than the rest of a short row.
template <class A, class S>
inline Vec<A> load_part(const S* p, int64_t n) {
  S buffer[kLanes<A>] = {};
  for (int64_t i = 0; i < n; i++) buffer[i] = p[i];
  return load<A>(buffer);
}
template <class V, class S>
inline void store_part(S* p, V v, int64_t n) {
  S buffer[sizeof(V) / sizeof(v[0])];
  store(buffer, v);
  for (int64_t i = 0; i < n; i++) p[i] = buffer[i];
}
#if PYRNN_VECTOR_BYTES == 64
inline uint32_t first_bits(int64_t n) { return n > 0 ? (1u << n) - 1 : 0; }
template <>
inline Vec<float> load_part<float>(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(__mmask16(first_bits(n)), p);
}
template <>
inline Vec<double> load_part<double>(const double* p, int64_t n) {
  return _mm512_maskz_loadu_pd(__mmask8(first_bits(n)), p);
}
template <>
inline Vec<float> load_part<float>(const bf16* p, int64_t n) {
  return widened((u16_vec)_mm256_maskz_loadu_epi16(__mmask16(first_bits(n)), p));
}
template <>
inline void store_part(float* p, Vec<float> v, int64_t n) {
  _mm512_mask_storeu_ps(p, __mmask16(first_bits(n)), v);
}
template <>
inline void store_part(double* p, Vec<double> v, int64_t n) {
  _mm512_mask_storeu_pd(p, __mmask8(first_bits(n)), v);
}
#elif PYRNN_VECTOR_BYTES == 32 && defined(__AVX2__)  // stores by masks are slow on many of these processors
template <>
inline Vec<float> load_part<float>(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, (__m256i)lanes_below<float>(n));
}
template <>
inline Vec<double> load_part<double>(const double* p, int64_t n) {
  return _mm256_maskload_pd(p, (__m256i)lanes_below<double>(n));
}
#endif

// n of the lanes; the others read as zero and are not written. Only the last block of a row takes these.
template <class A, class S>
inline Vec<A> load_n(const S* p, int64_t n) {
  return n >= kLanes<A> ? load<A>(p) : load_part<A>(p, n);
}
// The same of numbers at a stride.
template <class A, class S>
inline Vec<A> load_spaced(const S* p, int64_t stride, int64_t n) {
  if (stride == 1) return load_n<A>(p, n);
  S buffer[kLanes<A>] = {};
  for (int64_t i = 0; i < n; i++) buffer[i] = p[i * stride];
  return load<A>(buffer);
}
// The first n lanes; the others become zero.
template <class A>
inline Vec<A> first_lanes(Vec<A> v, int64_t n) {
  using Mask = typename VecTypes<A>::mask;
  return n >= kLanes<A> ? v : (Vec<A>)((Mask)v & lanes_below<A>(n));
}
template <class V, class S>
inline void store_n(S* p, V v, int64_t n) {
  constexpr int lanes = sizeof(V) / sizeof(v[0]);
  n >= lanes ? store(p, v) : store_part(p, v, n);
}

// The number itself, rounded: what made it is not fused with what uses it into one operation that rounds
// once.
template <class V>
inline V rounded(V x) {
#if defined(__x86_64__) || defined(__i386__)
  asm("" : "+v"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#else
  asm("" : "+m"(x));
#endif
  return x;
}

// ---- elementary functions, a few units in the last place
template <class A>
struct ExpConstants;
template <>
struct ExpConstants<float> {  // ln2 is split so that n * high is exact; round_magic = 1.5 * 2^23
  static constexpr float low = -87.0f, high = 88.0f, round_magic = 12582912.0f;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr int degree = 7, mantissa = 23;
  static constexpr int32_t bias = 127;
};
template <>
struct ExpConstants<double> {
  static constexpr double low = -708.0, high = 709.0, round_magic = 6755399441055744.0;
  static constexpr double ln2_high = 0.693145751953125, ln2_low = 1.42860682030941723212e-6;
  static constexpr int degree = 13, mantissa = 52;
  static constexpr int64_t bias = 1023;
};

// exp(x) = scale + scale * p with p = exp(r) - 1 and |r| <= ln2 / 2: exp and expm1 both follow without
// cancellation. |r|^(degree+1) / (degree+1)! is below a tenth of a unit in the last place for the Taylor
// series used here.
template <class V, class A>
inline void exp_parts(V x, V& scale, V& p) {
  using C = ExpConstants<A>;
  x = x > C::high ? splat<A>(C::high) : x;
  x = x < C::low ? splat<A>(C::low) : x;
  V shifted = x * A(1.44269504088896340736) + C::round_magic;
  V n = shifted - C::round_magic;
  V r = x - n * C::ln2_high - n * C::ln2_low;
  A inverse_factorial[C::degree + 1] = {1};
  for (int i = 1; i <= C::degree; i++) inverse_factorial[i] = inverse_factorial[i - 1] / A(i);
  p = splat<A>(inverse_factorial[C::degree]);
  for (int i = C::degree - 1; i >= 1; i--) p = p * r + inverse_factorial[i];
  p = p * r;
  using I = typename VecTypes<A>::mask;
  I exponent = (I)shifted - (I)splat<A>(C::round_magic) + C::bias;
  scale = (V)(exponent << C::mantissa);
}

template <class V>
using Lane = __typeof__(V{}[0] + 0);

template <class V>
inline V sigmoid(V x) {
  V scale, p;
  exp_parts<V, Lane<V>>(-x, scale, p);
  return Lane<V>(1) / (Lane<V>(1) + scale + scale * p);
}

// tanh(x) = sign(x) * -e / (2 + e) with e = expm1(-2|x|): accurate in relative terms near zero too.
template <class V>
inline V tanh(V x) {
  using A = Lane<V>;
  V magnitude = x < 0 ? -x : x, scale, p;
  exp_parts<V, A>(A(-2) * magnitude, scale, p);
  V e = scale * p + (scale - A(1));
  V t = -e / (A(2) + e);
  return x < 0 ? -t : t;
}

// log(x) of normal positive numbers; any other lane is left without meaning. x = 2^n m with m within a factor
// sqrt(2) of 1, log m = 2 atanh((m - 1) / (m + 1)): relatively accurate near x = 1 too.
template <class V>
inline V log(V x) {
  using A = Lane<V>;
  using C = ExpConstants<A>;
  using I = typename VecTypes<A>::mask;
  const I half_exponents = (I)splat<A>(A(0.70710678118654752440));
  const I above = (I)x - half_exponents;  // its exponent is that of x / sqrt(1/2)
  const I n = above >> C::mantissa;
  const V m = (V)((I)x - (n << C::mantissa));
  const V exponent = __builtin_convertvector(n, V);
  const V f = (m - A(1)) / (m + A(1)), square = f * f;
  constexpr int kTerms = C::degree == 7 ? 4 : 10;  // |f| <= 0.1716: the next term is far below rounding
  V p = splat<A>(A(1) / (2 * kTerms + 1));
  for (int k = kTerms - 1; k >= 1; k--) p = p * square + A(1) / A(2 * k + 1);
  return exponent * C::ln2_high + (exponent * C::ln2_low + (A(2) * f + A(2) * f * square * p));
}

// What the formulas of cells and activations call.
struct VectorMath {
  template <class V>
  using Lane = pyrnn::Lane<V>;
  template <class V>
  static inline V exp(V x) {  // never 0 nor infinite: see exp_parts
    V scale, p;
    exp_parts<V, Lane<V>>(x, scale, p);
    return scale + scale * p;
  }
  template <class V>
  static inline V inverse(V x) {
    return Lane<V>(1) / x;
  }
  template <class V>
  static inline V sigmoid(V x) {
    return pyrnn::sigmoid(x);
  }
  template <class V>
  static inline V tanh(V x) {
    return pyrnn::tanh(x);
  }
  template <class V>
  static inline V relu(V x) {  // a NaN stays
    return x < 0 ? V{} : x;
  }
  template <class V>
  static inline V where_positive(V condition, V x) {
    return condition <= 0 ? V{} : x;
  }
};

}  // namespace
}  // namespace pyrnn
