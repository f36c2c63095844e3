// The one header, with ptx.h, that kernel files include: CUDA under nvcc; with PYRNN_EMULATE, under a host
// compiler, the emulator of csrc/emulator, which runs the same source for tests.
//
//   SHARED_ARRAY(T, name, n)   T name[n] in static shared memory
//   DYNAMIC_SHARED(name)       unsigned char* name, the dynamic shared memory, 128-byte aligned
#pragma once
#include "common/cuda/launch_shape.h"

#ifdef PYRNN_EMULATE
#  include "emulator/cuda_names.h"
#else
#  include <cuda_bf16.h>
#  include <cuda_fp16.h>
#  include <cuda_runtime.h>
#  include <stdint.h>

#  define SHARED_ARRAY(T, name, n) __shared__ T name[n]
#  define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

namespace pyrnn {

constexpr size_t kRedZone = 0;                     // bytes after an allocated tile
constexpr size_t kDefaultSharedLimit = 48 * 1024;  // dynamic shared memory that needs no attribute
constexpr int kPortableCluster = 8;                // cluster size that needs no attribute

template <class... P>
cudaError_t set_attribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

template <class... P>
cudaError_t allow_shared(void (*kernel)(P...), size_t shared) {
  if (shared <= kDefaultSharedLimit) return cudaSuccess;
  return set_attribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared));
}

template <class... P>
cudaError_t allow_cluster(void (*kernel)(P...), int size) {
  if (size <= kPortableCluster) return cudaSuccess;
  return set_attribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
}

// The name is for the emulator's messages.
template <class... P, class... A>
cudaError_t launch(const char*, void (*kernel)(P...), const LaunchShape& shape, cudaStream_t stream,
                   A&&... arguments) {
  cudaError_t error = allow_shared(kernel, shape.shared);
  if (error == cudaSuccess) error = allow_cluster(kernel, shape.cluster);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = stream;
  config.attrs = attributes;
  if (shape.cooperative) {
    attributes[config.numAttrs].id = cudaLaunchAttributeCooperative;
    attributes[config.numAttrs++].val.cooperative = 1;
  }
  if (shape.cluster > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs].val.clusterDim.x = unsigned(shape.cluster);
    attributes[config.numAttrs].val.clusterDim.y = 1;
    attributes[config.numAttrs++].val.clusterDim.z = 1;
  }
  return cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
}

// Blocks of a kernel that one multiprocessor holds at once; 0 where it cannot run.
template <auto kKernel>
int blocks_per_sm(int threads, size_t shared) {
  int blocks = 0;
  if (allow_shared(kKernel, shared) != cudaSuccess ||
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kKernel, threads, shared) != cudaSuccess) {
    cudaGetLastError();  // a refusal is an answer: it must not surface at the next launch
    return 0;
  }
  return blocks;
}

// Clusters of a kernel that the device holds at once; 0 where it cannot run.
template <auto kKernel>
int clusters_at_once(int threads, size_t shared, int size) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = unsigned(size);
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(size));
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = shared;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  cudaError_t error = allow_shared(kKernel, shared);
  if (error == cudaSuccess) error = allow_cluster(kKernel, size);
  if (error == cudaSuccess) error = cudaOccupancyMaxActiveClusters(&clusters, kKernel, &config);
  if (error == cudaSuccess) return clusters;
  cudaGetLastError();  // as above
  return 0;
}

Device device_properties(int device);  // asked once in a process

}  // namespace pyrnn
#endif
