// The entry points of the CUDA runtime that csrc/common/cuda calls, on devices that a test describes: host
// code links them in the place of NVIDIA's library. Nothing runs: a launch is checked as the runtime's
// documentation says, and noted. Included by one source of a program.
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

#include <algorithm>
#include <map>
#include <vector>

namespace mock {

struct Device {
  int major, minor, sms, shared_per_block, registers_per_sm, l2_bytes;
  bool cooperative;
};
constexpr Device kH200{9, 0, 132, 227 * 1024, 65536, 50 << 20, true};
constexpr Device kA100{8, 0, 108, 163 * 1024, 65536, 40 << 20, true};

struct Function {  // of a kernel: what cudaFuncSetAttribute has set
  size_t shared = 48 * 1024;
  bool any_cluster = false;
};

struct Launched {
  const void* kernel;
  dim3 grid, block;
  size_t shared;
  cudaStream_t stream;
  bool cooperative;
  unsigned cluster;  // 0: none
  void** arguments;  // valid during `on_launch` alone
};

struct Runtime {
  std::vector<Device> devices{kH200};
  cudaError_t start = cudaSuccess;   // what the first call finds
  cudaError_t sticky = cudaSuccess;  // a fault of the device: every call returns it from then on
  cudaError_t last = cudaSuccess;
  int blocks_per_sm = 1;  // of every kernel, as far as registers allow
  std::map<const void*, Function> functions;
  std::vector<Launched> launched;
  void (*on_launch)(const Launched&) = nullptr;

  // What a call returns, noted for cudaGetLastError.
  cudaError_t answer(cudaError_t error) {
    if (start != cudaSuccess) error = start;
    if (sticky != cudaSuccess) error = sticky;
    if (error != cudaSuccess) last = error;
    return error;
  }
};
inline Runtime runtime;

inline const Device& device() { return runtime.devices.at(0); }

inline int resident(const void* kernel, size_t shared) {
  if (shared > runtime.functions[kernel].shared) return 0;
  const size_t of_shared = (size_t(device().shared_per_block) + 1024) / (shared + 1024);
  return int(std::min(of_shared, size_t(runtime.blocks_per_sm)));
}

inline cudaError_t why_not(const Launched& call) {
  const uint64_t threads = uint64_t(call.block.x) * call.block.y * call.block.z;
  const uint64_t blocks = uint64_t(call.grid.x) * call.grid.y * call.grid.z;
  const Function& function = runtime.functions[call.kernel];
  if (threads < 1 || threads > 1024 || blocks < 1 || call.grid.y > 65535 || call.grid.z > 65535)
    return cudaErrorInvalidConfiguration;
  if (call.shared > function.shared) return cudaErrorInvalidValue;
  if (call.cooperative && !device().cooperative) return cudaErrorNotSupported;
  if (call.cooperative && blocks > uint64_t(resident(call.kernel, call.shared)) * unsigned(device().sms))
    return cudaErrorCooperativeLaunchTooLarge;
  if (call.cluster == 0) return cudaSuccess;
  const bool fits = device().major >= 9 && call.cluster <= (function.any_cluster ? 16u : 8u);
  return fits && call.grid.x % call.cluster == 0 ? cudaSuccess : cudaErrorInvalidClusterSize;
}

inline Launched launch_of(const cudaLaunchConfig_t& config, const void* kernel, void** arguments) {
  Launched call{kernel, config.gridDim, config.blockDim, config.dynamicSmemBytes, config.stream, false,
                0,      arguments};
  for (unsigned i = 0; i < config.numAttrs; i++) {
    const cudaLaunchAttribute& attribute = config.attrs[i];
    if (attribute.id == cudaLaunchAttributeCooperative) call.cooperative = attribute.val.cooperative != 0;
    if (attribute.id == cudaLaunchAttributeClusterDimension) call.cluster = attribute.val.clusterDim.x;
  }
  return call;
}

}  // namespace mock

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = int(mock::runtime.devices.size());
  return mock::runtime.answer(*count ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int number) {
  const cudaError_t error = mock::runtime.answer(
      size_t(number) < mock::runtime.devices.size() ? cudaSuccess : cudaErrorInvalidDevice);
  if (error != cudaSuccess) return error;
  const mock::Device& of = mock::runtime.devices[size_t(number)];
  const std::map<cudaDeviceAttr, int> known{{cudaDevAttrMultiProcessorCount, of.sms},
                                            {cudaDevAttrMaxSharedMemoryPerBlockOptin, of.shared_per_block},
                                            {cudaDevAttrMaxRegistersPerMultiprocessor, of.registers_per_sm},
                                            {cudaDevAttrL2CacheSize, of.l2_bytes},
                                            {cudaDevAttrComputeCapabilityMajor, of.major},
                                            {cudaDevAttrComputeCapabilityMinor, of.minor},
                                            {cudaDevAttrCooperativeLaunch, of.cooperative}};
  const auto found = known.find(name);
  if (found == known.end()) return mock::runtime.answer(cudaErrorInvalidValue);
  *value = found->second;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  mock::Function& function = mock::runtime.functions[kernel];
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    const cudaError_t error = mock::runtime.answer(
        value >= 0 && value <= mock::device().shared_per_block ? cudaSuccess : cudaErrorInvalidValue);
    if (error == cudaSuccess) function.shared = size_t(value);
    return error;
  }
  if (attribute != cudaFuncAttributeNonPortableClusterSizeAllowed)
    return mock::runtime.answer(cudaErrorInvalidValue);
  function.any_cluster = value != 0;
  return mock::runtime.answer(cudaSuccess);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel, void** arguments) {
  const mock::Launched call = mock::launch_of(*config, kernel, arguments);
  const cudaError_t error = mock::runtime.answer(mock::why_not(call));
  if (error != cudaSuccess) return error;
  mock::runtime.launched.push_back(call);
  if (mock::runtime.on_launch) mock::runtime.on_launch(call);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* kernel, int,
                                                                   size_t shared, unsigned) {
  *blocks = mock::resident(kernel, shared);
  return mock::runtime.answer(cudaSuccess);
}

cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void* kernel,
                                           const cudaLaunchConfig_t* config) {
  mock::Launched call = mock::launch_of(*config, kernel, nullptr);
  const cudaError_t error = mock::runtime.answer(mock::why_not(call));
  if (error == cudaSuccess)
    *clusters = mock::resident(kernel, call.shared) * mock::device().sms / int(call.cluster);
  return error;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = mock::runtime.last;
  mock::runtime.last = mock::runtime.sticky;
  return error;
}

const char* cudaGetErrorString(cudaError_t error) {
  static const std::map<cudaError_t, const char*> words{
      {cudaSuccess, "no error"},
      {cudaErrorNoDevice, "no CUDA-capable device is detected"},
      {cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"},
      {cudaErrorInvalidDevice, "invalid device ordinal"},
      {cudaErrorInvalidValue, "invalid argument"},
      {cudaErrorInvalidConfiguration, "invalid configuration argument"},
      {cudaErrorInvalidClusterSize, "cluster misconfiguration"},
      {cudaErrorNotSupported, "operation not supported"},
      {cudaErrorCooperativeLaunchTooLarge, "too many blocks in cooperative launch"},
      {cudaErrorIllegalAddress, "an illegal memory access was encountered"}};
  const auto found = words.find(error);
  return found == words.end() ? "an error that the mock has no words for" : found->second;
}

}  // extern "C"
