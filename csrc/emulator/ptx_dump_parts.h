// Inputs and launches that the dumps of instructions share.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

#include "common/cuda/device.h"
#include "emulator/ptx_dump.h"

namespace pyrnn {
namespace dump {

// ---- inputs: integers from a hash, so that device and host agree on every bit ------------------------

__device__ inline uint32_t hash(uint32_t i) {  // Murmur3's finalizer
  i = (i ^ i >> 16) * 0x85ebca6bu;
  i = (i ^ i >> 13) * 0xc2b2ae35u;
  return i ^ i >> 16;
}
__device__ inline int integer(uint32_t i) {
  return int(hash(i) % 17) - 8;
}  // products and sums of these are exact
__device__ inline float real(uint32_t i) { return float(int(hash(i) % 65536) - 32768) / 16384.0f; }

template <class S>
__device__ S rounded(float x);
template <>
__device__ inline __nv_bfloat16 rounded(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half rounded(float x) {
  return __float2half_rn(x);
}
__device__ inline float widened(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float widened(__half x) { return __half2float(x); }

template <class S>
__device__ uint32_t pair_of(float low, float high) {
  union {
    S half[2];
    uint32_t word;
  } pair;
  pair.half[0] = rounded<S>(low);
  pair.half[1] = rounded<S>(high);
  return pair.word;
}

// ---- launches -------------------------------------------------------------------------------------------

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("ptx_dump: ") + cudaGetErrorString(error));
}

class Memory {  // of the device
 public:
  explicit Memory(size_t bytes) {
    check(cudaMalloc(&p_, bytes));
    const cudaError_t error = cudaMemsetAsync(p_, 0, bytes, nullptr);
    if (error != cudaSuccess) cudaFree(p_);
    check(error);
  }
  ~Memory() { cudaFree(p_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  template <class T>
  T* as() {
    return static_cast<T*>(p_);
  }

 private:
  void* p_ = nullptr;
};

template <class Run>
PtxSection section(const char* name, bool exact, int values, Run run) {
  Memory memory(size_t(values) * sizeof(float));
  check(run(memory.as<float>()));
  PtxSection result{name, exact, std::vector<float>(size_t(values))};
  check(cudaMemcpy(result.values.data(), memory.as<float>(), size_t(values) * sizeof(float),
                   cudaMemcpyDeviceToHost));
  return result;
}

}  // namespace dump
}  // namespace pyrnn
