// CUDA's own names for a host compiler: qualifiers, built-in variables, functions of a warp, atomics, launch.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <vector_functions.h>

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>

#include "emulator/emulator.h"

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __grid_constant__
#undef __launch_bounds__
#undef __forceinline__
#undef __noinline__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ use_SHARED_ARRAY_or_DYNAMIC_SHARED
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__

#define SHARED_ARRAY(T, name, n)                                                   \
  static const char name##_key = 0; /* its address tells this array from others */ \
  T(&name)                                                                         \
  [n] = *reinterpret_cast<T(*)[n]>(::pyrnn::emulator::static_shared(&name##_key, sizeof(T[n]), alignof(T)))
#define DYNAMIC_SHARED(name) unsigned char* const name = ::pyrnn::emulator::dynamic_shared()

// Rewritten whenever another thread goes on.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
#ifndef warpSize
constexpr int warpSize = 32;
#endif

// ---- barriers ---------------------------------------------------------------------------------------

using PyrnnSite = ::pyrnn::emulator::Site;

inline void __syncthreads(PyrnnSite site = PyrnnSite::here()) { pyrnn::emulator::block_barrier(site); }
inline int __syncthreads_or(int vote, PyrnnSite site = PyrnnSite::here()) {
  return pyrnn::emulator::block_barrier_or(vote != 0, site);
}
inline void __syncwarp(uint32_t mask = ~0u, PyrnnSite site = PyrnnSite::here()) {
  pyrnn::emulator::warp_barrier(mask, site);
}
inline void __threadfence() { pyrnn::emulator::fence(); }
inline void __threadfence_block() { pyrnn::emulator::fence(); }
inline void __nanosleep(unsigned, PyrnnSite site = PyrnnSite::here()) { pyrnn::emulator::spin(site); }

namespace pyrnn {
namespace emulator {

template <class T>
struct ShufflePacket {
  T value, result;
  int source;
};

template <class T>
void combine_shuffle(Lanes& lanes) {
  for (int lane = 0; lane < 32; lane++) {
    if (!(lanes.present >> lane & 1)) continue;
    auto& own = *static_cast<ShufflePacket<T>*>(lanes.packet[lane]);
    if (!(lanes.present >> own.source & 1))
      fail("%s:%d: lane %d shuffles from lane %d, which does not take part (present: %08x)", lanes.site.file,
           lanes.site.line, lane, own.source, lanes.present);
    own.result = static_cast<ShufflePacket<T>*>(lanes.packet[own.source])->value;
  }
}

template <class T>
T shuffle(const char* name, uint32_t mask, T value, int source, Site site) {
  static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 8, "no such shuffle");
  ShufflePacket<T> packet{value, value, source};
  collective(name, combine_shuffle<T>, mask, &packet, site);
  return packet.result;
}

struct VotePacket {
  bool vote;
  uint32_t result;
};

inline void combine_votes(Lanes& lanes) {
  uint32_t votes = 0;
  for (int lane = 0; lane < 32; lane++)
    if (lanes.present >> lane & 1)
      votes |= uint32_t(static_cast<VotePacket*>(lanes.packet[lane])->vote) << lane;
  for (int lane = 0; lane < 32; lane++)
    if (lanes.present >> lane & 1) static_cast<VotePacket*>(lanes.packet[lane])->result = votes;
}

template <class T, class F>
T read_modify_write(T* p, F change) {
  Atomic atomic(p, sizeof(T), true, true, Order::relaxed);
  T old = *p;
  *p = change(old);
  return old;
}

}  // namespace emulator
}  // namespace pyrnn

// A lane outside its own part of `width` lanes reads itself, as on the device.
template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32, PyrnnSite site = PyrnnSite::here()) {
  const int first = pyrnn::emulator::lane() & ~(width - 1);
  return pyrnn::emulator::shuffle("__shfl_sync", mask, value, first | (source & (width - 1)), site);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int with, int width = 32, PyrnnSite site = PyrnnSite::here()) {
  const int lane = pyrnn::emulator::lane(), source = lane ^ with;
  const bool beyond = (source & ~(width - 1)) > (lane & ~(width - 1));
  return pyrnn::emulator::shuffle("__shfl_xor_sync", mask, value, beyond ? lane : source, site);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32, PyrnnSite site = PyrnnSite::here()) {
  const int lane = pyrnn::emulator::lane();
  const bool beyond = (lane & (width - 1)) + int(by) >= width;
  return pyrnn::emulator::shuffle("__shfl_down_sync", mask, value, beyond ? lane : lane + int(by), site);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32, PyrnnSite site = PyrnnSite::here()) {
  const int lane = pyrnn::emulator::lane();
  const bool beyond = (lane & (width - 1)) < int(by);
  return pyrnn::emulator::shuffle("__shfl_up_sync", mask, value, beyond ? lane : lane - int(by), site);
}
inline uint32_t __ballot_sync(uint32_t mask, int vote, PyrnnSite site = PyrnnSite::here()) {
  pyrnn::emulator::VotePacket packet{vote != 0, 0};
  pyrnn::emulator::collective("__ballot_sync", pyrnn::emulator::combine_votes, mask, &packet, site);
  return packet.result;
}
inline int __any_sync(uint32_t mask, int vote, PyrnnSite site = PyrnnSite::here()) {
  return __ballot_sync(mask, vote, site) != 0;
}
inline int __all_sync(uint32_t mask, int vote, PyrnnSite site = PyrnnSite::here()) {
  return __ballot_sync(mask, !vote, site) == 0;
}

// ---- memory -----------------------------------------------------------------------------------------

template <class T>
T atomicAdd(T* p, std::common_type_t<T> value) {
  return pyrnn::emulator::read_modify_write(p, [=](T old) { return T(old + value); });
}
template <class T>
T atomicMax(T* p, std::common_type_t<T> value) {
  return pyrnn::emulator::read_modify_write(p, [=](T old) { return old > value ? old : value; });
}
template <class T>
T atomicExch(T* p, std::common_type_t<T> value) {
  return pyrnn::emulator::read_modify_write(p, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> value,
            PyrnnSite site = PyrnnSite::here()) {
  const T old = pyrnn::emulator::read_modify_write(p, [=](T now) { return now == expected ? value : now; });
  if (old != expected) pyrnn::emulator::spin(site);  // most callers try again
  return old;
}
template <class T>
T __ldg(const T* p) {
  pyrnn::emulator::read_only(p, sizeof(T));
  return *p;
}
template <class T>
T __ldcg(const T* p) {
#ifdef __SANITIZE_THREAD__  // a build for the race detector; no other asks which cache serves a load
  T value;
  pyrnn::emulator::load_shared_cache(&value, p, sizeof(T));
  return value;
#else
  return *p;
#endif
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcg(T* p, std::common_type_t<T> value) {
  *p = value;
}
template <class T>
void __stcs(T* p, std::common_type_t<T> value) {
  *p = value;
}

// ---- numbers ----------------------------------------------------------------------------------------

// Macros, because glibc keeps some of these names for itself.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
template <class To, class From>
To pyrnn_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "other size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline int __float_as_int(float x) { return pyrnn_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return pyrnn_bits<unsigned>(x); }
inline float __int_as_float(int x) { return pyrnn_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return pyrnn_bits<float>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
template <class T>
std::enable_if_t<std::is_arithmetic<T>::value, T> min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
std::enable_if_t<std::is_arithmetic<T>::value, T> max(T a, T b) {
  return a < b ? b : a;
}

// ---- launch -------------------------------------------------------------------------------------------

namespace pyrnn {

// Runs the kernel to its end before it returns. Throws on a fault.
template <class... P, class... A>
cudaError_t launch(const char* name, void (*kernel)(P...), const LaunchShape& shape, cudaStream_t,
                   A&&... arguments) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
  } call{kernel, std::tuple<P...>(std::forward<A>(arguments)...)};
  auto body = [](void* data) {
    const Call& the = *static_cast<const Call*>(data);
    std::apply(the.kernel, the.arguments);
  };
  emulator::run(name, shape, body, &call);
  return cudaSuccess;
}

template <auto kKernel>
int blocks_per_sm(int threads, size_t shared) {
  const int warps = emulator::warps_of_registers(__PRETTY_FUNCTION__);
  return std::min(emulator::resident_blocks(threads, shared), warps / ((threads + 31) / 32));
}
// As if every cluster found its blocks anywhere on the device; where a device has them apart, there are
// fewer.
template <auto kKernel>
int clusters_at_once(int threads, size_t shared, int size) {
  return size > kLargestCluster ? 0
                                : blocks_per_sm<kKernel>(threads, shared) * device_properties(0).sms / size;
}

}  // namespace pyrnn
