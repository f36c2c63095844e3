// Tiles as the copy engine and warpgroups of compute capability 9.0a see them: panels of 64 features, each in
// rows of 128 bytes. The swizzle puts chunk i of row r where a Tile of 64 features has it, so whoever looks
// at a panel as threads do takes it for one.
#pragma once
#include "attention/cuda/tile.h"
#include "common/cuda/ptx90.h"

namespace pyrnn::attention::cuda {

constexpr int kPanelFeatures = 64;
constexpr size_t kSwizzleBytes = 1024;  // after which its pattern repeats: panels begin at multiples

template <class S, int kRowsOf, int kFeaturesOf>
struct Panels {
  using Scalar = S;
  using Panel = Tile<S, kRowsOf, kPanelFeatures>;
  static constexpr int kRows = kRowsOf, kFeatures = kFeaturesOf, kPanels = kFeatures / kPanelFeatures;
  static constexpr uint32_t kEightRows = 1024, kPanelBytes = kRows / 8 * kEightRows,
                            kBytes = kPanels * kPanelBytes;
  static constexpr int kSteps = kFeatures / 16;  // of products over features
  static_assert(sizeof(S) == 2 && kRows % 8 == 0 && kFeatures % kPanelFeatures == 0, "whole panels");

  S* data;

  // In shared memory, and what is left of the last pattern.
  static __host__ __device__ constexpr size_t bytes() {
    return (tile_bytes<S>(kBytes / sizeof(S)) + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes;
  }

  // `shared` is at a multiple of kSwizzleBytes, before and after.
  __device__ __forceinline__ void take(SharedAllocator& shared) {
    unsigned char* const begin = shared.p;
    data = shared.take<S>(kBytes / sizeof(S));
    shared.p = begin + bytes();
  }

  __device__ __forceinline__ Panel panel(int i) const { return {data + i * int(kPanelBytes / sizeof(S))}; }
  __device__ __forceinline__ const S* at(int row, int feature) const {
    return panel(feature / kPanelFeatures).at(row, feature % kPanelFeatures);
  }

  // One thread loads all rows; the coordinates are those of dimensions 1 to 3 of the map. Features that the
  // tensor does not have are zeros, and so are rows.
  __device__ __forceinline__ void load(const TensorMap& map, int c1, int c2, int c3, uint64_t* landed) const {
    ptx::mbarrier_arrive_expect_tx(landed, kBytes);
#pragma unroll
    for (int i = 0; i < kPanels; i++)
      ptx::tensor_load(panel(i).data, &map, i * kPanelFeatures, c1, c2, c3, landed);
  }

  // Descriptor of an operand of products over features, of rows from `row` on, a multiple of 8. That of step
  // k is so much more: as a constant beside the product it needs no register.
  __device__ __forceinline__ uint64_t over_features(int row) const {
    return ptx::wgmma_descriptor(address() + uint32_t(row / 8) * kEightRows, kEightRows);
  }
  static __device__ __forceinline__ constexpr uint64_t features_of(int k) {
    constexpr int kOfPanel = kPanelFeatures / 16;
    return (uint32_t(k / kOfPanel) * kPanelBytes + uint32_t(k % kOfPanel) * 32) >> 4;
  }
  // The same of products over rows, of all features.
  __device__ __forceinline__ uint64_t over_rows() const {
    return ptx::wgmma_descriptor(address(), kEightRows, kPanelBytes);
  }
  static __device__ __forceinline__ constexpr uint64_t rows_of(int k) {
    return (uint32_t(k) * 2 * kEightRows) >> 4;
  }

  // Whether they hold an infinity or a NaN, as a whole warp finds it.
  __device__ __forceinline__ bool has_nonfinite() const {
    const int lane = int(threadIdx.x) % 32;
    bool found = false;
#pragma unroll
    for (int i = 0; i < kPanels; i++)
      found |= panel(i).template own_part_has_nonfinite<32>(kPanelFeatures, lane);
    return __any_sync(~0u, found);
  }

 private:
  __device__ __forceinline__ uint32_t address() const {
    return uint32_t(ptx::opaque(int(ptx::shared_address(data))));
  }
};

// At a multiple of kSwizzleBytes.
__device__ __forceinline__ SharedAllocator swizzled(unsigned char* dynamic) {
  constexpr uint32_t kPattern = kSwizzleBytes;
  return {dynamic + (kPattern - ptx::shared_address(dynamic) % kPattern) % kPattern};
}

}  // namespace pyrnn::attention::cuda
