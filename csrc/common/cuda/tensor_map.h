// Descriptors of 4-D tensors in global memory, from which the copy engine of compute capability 9.0 (TMA)
// loads boxes: PTX ISA, "Tensors". They are made on the host and handed to a kernel as
// `const __grid_constant__ TensorMap`.
#pragma once
#include <stdint.h>

#include <stdexcept>
#include <string>

#include "common/cuda/device.h"
#ifndef PYRNN_EMULATE
#  include <cuda.h>
#endif

namespace pyrnn {

// How a box lies in shared memory. bytes128: in rows of 128 bytes, with bits 4 to 6 of each address replaced
// by their exclusive or with bits 7 to 9, which wgmma reads without bank conflicts.
enum class Swizzle { none, bytes128 };

// Elements of 16 bits. Dimension 0 is contiguous; for attention the four are features, rows, heads, batch.
struct TensorTile {
  const void* base;
  uint64_t sizes[4];
  uint64_t strides[3];  // bytes from one index to the next of dimensions 1, 2, 3
  uint32_t box[4];      // elements that one copy loads
  Swizzle swizzle;

  static constexpr uint32_t kElementBytes = 2;
  __host__ __device__ constexpr uint32_t box_bytes() const {
    return box[0] * box[1] * box[2] * box[3] * kElementBytes;
  }
};

// What cuTensorMapEncodeTiled would refuse, in words; empty: nothing. Rows narrower than the swizzle's 128
// bytes are allowed by the driver, but no kernel uses them.
inline std::string why_no_tensor_map(const TensorTile& tile) {
  const std::string begin = "pyrnn: a tensor map needs ";
  if (reinterpret_cast<uintptr_t>(tile.base) % 16 != 0) return begin + "a base at a multiple of 16 bytes";
  for (uint64_t size : tile.sizes)
    if (size < 1 || size > uint64_t(1) << 32)
      return begin + "sizes of 1 to 2^32, got " + std::to_string(size);
  for (uint64_t stride : tile.strides)
    if (stride % 16 != 0 || stride >= uint64_t(1) << 40)
      return begin + "strides that are multiples of 16 bytes below 2^40, got " + std::to_string(stride);
  for (uint32_t extent : tile.box)
    if (extent < 1 || extent > 256)
      return begin + "a box of 1 to 256 elements a dimension, got " + std::to_string(extent);
  const uint32_t row = tile.box[0] * TensorTile::kElementBytes;
  if (tile.swizzle == Swizzle::bytes128 && row != 128)
    return begin + "box rows of 128 bytes for the 128-byte swizzle, got " + std::to_string(row);
  if (row % 16 != 0) return begin + "box rows that are multiples of 16 bytes, got " + std::to_string(row);
  return "";
}

#ifdef PYRNN_EMULATE
struct alignas(64) TensorMap {
  TensorTile tile;
};
#else
struct TensorMap {
  CUtensorMap encoded;
};

// Asked of the runtime, so that nothing links to libcuda, which a machine without a GPU lacks.
inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found;
  const unsigned since = 12000;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, since, cudaEnableDefault, &found) !=
          cudaSuccess ||
      found != cudaDriverEntryPointSuccess) {
    cudaGetLastError();  // it must not surface at the next launch
    throw std::runtime_error("pyrnn: this driver has no cuTensorMapEncodeTiled, expected CUDA 12 or newer");
  }
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
}
#endif

// Throws std::runtime_error where there is none.
inline TensorMap tensor_map(const TensorTile& tile) {
  const std::string refusal = why_no_tensor_map(tile);
  if (!refusal.empty()) throw std::runtime_error(refusal);
#ifdef PYRNN_EMULATE
  return {tile};
#else
  TensorMap map;
  const cuuint32_t every_element[4] = {1, 1, 1, 1};
  static const auto encode = tensor_map_encoder();  // once in a process
  const CUresult result =
      encode(&map.encoded, CU_TENSOR_MAP_DATA_TYPE_UINT16, 4, const_cast<void*>(tile.base), tile.sizes,
             tile.strides, tile.box, every_element, CU_TENSOR_MAP_INTERLEAVE_NONE,
             tile.swizzle == Swizzle::bytes128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw std::runtime_error("pyrnn: cuTensorMapEncodeTiled failed with code " + std::to_string(result));
  return map;
#endif
}

}  // namespace pyrnn
