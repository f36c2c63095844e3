// Scalars on the device: conversion between storage and accumulation types, gate functions.
#pragma once
#include "common/cuda/device.h"
#include "common/cuda/ptx.h"

namespace pyrnn {

template <class S>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

template <class S>
__device__ __forceinline__ typename Accumulate<S>::type widen(S x) {
  return x;
}
template <>
__device__ __forceinline__ float widen<__nv_bfloat16>(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
template <>
__device__ __forceinline__ float widen<__half>(__half x) {
  return __half2float(x);
}

template <class S>
__device__ __forceinline__ S narrow(typename Accumulate<S>::type x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half narrow<__half>(float x) {
  return __float2half_rn(x);
}

// The product itself, rounded: not fused with a sum behind it into one operation that rounds once.
__device__ __forceinline__ float rounded_product(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double rounded_product(double a, double b) { return __dmul_rn(a, b); }

// What the formulas of cells and activations call: the accurate functions.
struct DeviceMath {
  template <class V>
  using Lane = V;
  // Never infinite: what is too large counts as the largest number whose exp is finite.
  static __device__ __forceinline__ float exp(float x) { return expf(x > 88.0f ? 88.0f : x); }
  static __device__ __forceinline__ double exp(double x) { return ::exp(x > 709.0 ? 709.0 : x); }
  template <class V>
  static __device__ __forceinline__ V inverse(V x) {
    return V(1) / x;
  }
  static __device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
  static __device__ __forceinline__ double sigmoid(double x) { return 1.0 / (1.0 + ::exp(-x)); }
  static __device__ __forceinline__ float tanh(float x) { return tanhf(x); }
  static __device__ __forceinline__ double tanh(double x) { return ::tanh(x); }
  template <class V>
  static __device__ __forceinline__ V relu(V x) {  // a NaN stays
    return x < 0 ? V(0) : x;
  }
  template <class V>
  static __device__ __forceinline__ V where_positive(V condition, V x) {
    return condition <= 0 ? V(0) : x;
  }
};

// For 16-bit storage: errors near 1e-7, a thousandth of what rounding the result costs, in a third of the
// time.
struct FastMath : DeviceMath {
  static __device__ __forceinline__ float exp(float x) { return __expf(x > 88.0f ? 88.0f : x); }
  static __device__ __forceinline__ float inverse(float x) { return __fdividef(1.0f, x); }
  static __device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
  static __device__ __forceinline__ float tanh(float x) {
    if (fabsf(x) < 0.04f) return x - x * x * x * (1.0f / 3.0f);  // the other form would cancel
    return 1.0f - 2.0f * __fdividef(1.0f, 1.0f + __expf(2.0f * x));
  }
};

template <class S>
using MathFor = typename std::conditional<sizeof(S) == 2, FastMath, DeviceMath>::type;

}  // namespace pyrnn
