// A tile: some rows of queries, keys, values or gradients in shared memory, and the copies that bring them
// there.
//
// Rows are cut into chunks of 16 bytes. Chunk i of row r lies at place i ^ (r % 8): eight lanes that read the
// same chunk of eight neighbouring rows, as every product does, meet no bank twice.
#pragma once
#include "common/cuda/scalar.h"
#include "common/cuda/shared_memory.h"

namespace pyrnn::attention::cuda {

constexpr int kChunkBytes = 16;

template <class S, int kRowsOf, int kFeaturesOf>
struct Tile {
  using Scalar = S;
  static constexpr int kRows = kRowsOf, kFeatures = kFeaturesOf;
  static constexpr int kChunk = kChunkBytes / int(sizeof(S));  // features
  static constexpr int kChunks = kFeatures / kChunk;           // of a row
  static_assert(kChunks % 8 == 0, "the chunks of eight rows must fill all banks");

  S* data;

  static __host__ __device__ constexpr size_t bytes() { return tile_bytes<S>(size_t(kRows) * kFeatures); }

  __device__ __forceinline__ void take(SharedAllocator& shared) { data = shared.take<S>(kRows * kFeatures); }

  __device__ __forceinline__ S* chunk(int row, int i) const {
    return data + (row * kChunks + (i ^ (row % 8))) * kChunk;
  }
  __device__ __forceinline__ S* at(int row, int feature) const {
    return chunk(row, feature / kChunk) + feature % kChunk;
  }

  // Begins to copy all rows: `source(row)` is where row `row` starts, 16-byte aligned, or null for a row of
  // zeros; whole chunks are copied, whose rest behind `features` must be zeros in memory. Chunks behind the
  // 16 features of the last product are left alone: nobody reads them. `any` is an address that a copy of
  // zeros may name. The caller commits the group.
  template <int kThreads, class Source>
  __device__ __forceinline__ void load(int features, const void* any, const Source& source) const {
#pragma unroll 2  // more would keep their addresses in registers that sums need
    for (int first = 0; first < kRows * kChunks; first += kThreads) {
      const int n = first + int(threadIdx.x), row = n / kChunks, i = n % kChunks;
      if (kRows * kChunks % kThreads != 0 && n >= kRows * kChunks) break;
      if (!is_read(i, features)) continue;
      const S* from = source(row);
      const bool valid = from != nullptr && i * kChunk < features;
      ptx::cp_async16(chunk(row, i), valid ? from + i * kChunk : any, valid);
    }
  }

  // The same for rows that lie `stride` apart from `first` on, which is row 0 or, where `holds(row)` is
  // false, a row of zeros.
  template <int kThreads, class Holds>
  __device__ __forceinline__ void load_rows(int features, const S* first, int64_t stride,
                                            const Holds& holds) const {
    static_assert(kChunks % kThreads == 0 || kThreads % kChunks == 0,
                  "a thread keeps to its chunks of a row");
    constexpr int kAtOnce = kThreads < kChunks ? 1 : kThreads / kChunks;  // rows
    const int thread = ptx::opaque(int(threadIdx.x));
    const S* from = first + thread / kChunks * stride;
#pragma unroll
    for (int row = thread / kChunks; row < kRows; row += kAtOnce) {
      const bool valid = holds(row);
#pragma unroll
      for (int i = thread % kChunks; i < kChunks; i += kThreads) {
        const bool there = valid && i * kChunk < features;
        if (is_read(i, features)) ptx::cp_async16(chunk(row, i), there ? from + i * kChunk : first, there);
      }
      from += kAtOnce * stride;
    }
  }

  // Whether what this thread has itself copied holds an infinity or a NaN. After its copies have landed.
  template <int kThreads>
  __device__ __forceinline__ bool own_part_has_nonfinite(int features, int thread = int(threadIdx.x)) const {
    uint32_t found = 0;
#pragma unroll 4
    for (int n = thread; n < kRows * kChunks; n += kThreads) {
      if (n % kChunks * kChunk >= features) continue;
      const uint4 words = *reinterpret_cast<const uint4*>(chunk(n / kChunks, n % kChunks));
      found |= nonfinite_bits(words.y) | nonfinite_bits(words.w);
      if (sizeof(S) < 8) found |= nonfinite_bits(words.x) | nonfinite_bits(words.z);  // else: low halves
    }
    return found != 0;
  }

 private:
  static __device__ __forceinline__ bool is_read(int chunk, int features) {
    return chunk * kChunk < (features + 15) / 16 * 16;
  }

  // Not 0 where a number of type S in these 32 bits has an exponent of all ones.
  static __device__ __forceinline__ uint32_t nonfinite_bits(uint32_t word) {
    if constexpr (std::is_same<S, __nv_bfloat16>::value)
      return ((word & 0x7f807f80u) + 0x00800080u) & 0x80008000u;
    else if constexpr (std::is_same<S, __half>::value)
      return ((word & 0x7c007c00u) + 0x04000400u) & 0x80008000u;
    else if constexpr (sizeof(S) == 8)
      return ((word & 0x7ff00000u) + 0x00100000u) & 0x80000000u;
    else
      return ((word & 0x7f800000u) + 0x00800000u) & 0x80000000u;
  }
};

// Two tiles: one is worked on while copies fill the other. No array of pointers: one whose index is known
// only at run time would lie in local memory, and all that stands beside it.
template <class TileOf>
struct TwoTiles {
  typename TileOf::Scalar* first;

  __device__ __forceinline__ void take(SharedAllocator& shared) {
    TileOf tile;
    tile.take(shared);
    first = tile.data;
    tile.take(shared);
  }
  __device__ __forceinline__ TileOf operator[](int i) const {
    return {first + i * int(TileOf::bytes() / sizeof(typename TileOf::Scalar))};
  }
};

}  // namespace pyrnn::attention::cuda
