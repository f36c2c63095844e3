// The product of a block: sums[M * 16 rows][8 * kTiles batch rows] = weights . exchange, K split among the
// warps.
//
// A product says how weights and exchange are laid out (`weight_index`, `exchange_index`), in which steps of
// K it goes (kBlock), multiplies one warp's share into registers, and puts those into the warp's part of
// shared memory as [row][batch row]. Whoever reads the sums adds the warps' parts in their order, so the bits
// never depend on timing.
#pragma once
#include "scalar.h"
#include "walk.h"

namespace pyrnn {

// Tensor cores: bfloat16 and float16 with float sums, mma.m16n8k16.
//
// The order of K within a block of 32 is free as long as both operands agree: lane 4g + t takes the eight
// neighbours k = 8t..8t+7 of batch row g, so one 16-byte load brings the right operand of two mma tiles.
template <class S, int M>
struct TensorProduct {
  using Element = S;
  using Sum = float;
  static constexpr int kBlock = 32;
  static constexpr int kMaxTiles = 4;

  // [k block][batch row][32]
  static __device__ __forceinline__ int64_t exchange_index(int64_t k, int64_t row, int64_t rows) {
    return (k / 32 * rows + row) * 32 + k % 32;
  }
  // [k block][M][half of the block][lane][register][2]: the left operand's fragments, 16 bytes a lane.
  static __device__ __forceinline__ int64_t weight_index(int64_t k, int m, int unit) {
    const int in_block = int(k % 32), t = in_block / 8, j = in_block % 8;
    const int half = j / 4, reg = (j / 2 % 2) * 2 + unit / 8, lane = unit % 8 * 4 + t;
    return ((((k / 32) * M + m) * 2 + half) * 32 + lane) * 8 + reg * 2 + j % 2;
  }

  template <int kTiles>
  struct Registers {
    float sum[M][kTiles][4];

    __device__ __forceinline__ void multiply(const S* weights, const S* exchange, int64_t rows, int64_t row0,
                                             int64_t blocks, int warp, int lane) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < kTiles; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) sum[m][n][i] = 0;
      for (int64_t block = warp; block < blocks; block += kWarps) {
        uint4 right[kTiles];
#pragma unroll
        for (int n = 0; n < kTiles; n++)
          right[n] = __ldcg((const uint4*)(exchange + (block * rows + row0 + n * kTileRows) * 32) + lane);
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
          for (int m = 0; m < M; m++) {
            const uint4 left = *((const uint4*)weights + ((block * M + m) * 2 + half) * 32 + lane);
            const uint32_t a[4] = {left.x, left.y, left.z, left.w};
#pragma unroll
            for (int n = 0; n < kTiles; n++) {
              const uint32_t b[2] = {half ? right[n].z : right[n].x, half ? right[n].w : right[n].y};
              ptx::mma_m16n8k16(sum[m][n], a, b, S());
            }
          }
      }
    }

    __device__ __forceinline__ void put(float* sums, int stride, int lane) const {
      const int g = lane / 4, t = lane % 4;
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < kTiles; n++)
#pragma unroll
          for (int i = 0; i < 4; i++)
            sums[(m * kUnits + g + i / 2 * 8) * stride + n * kTileRows + 2 * t + i % 2] = sum[m][n][i];
    }
  };
};

// Multiply-adds in the sums' own type: float32 and float64, exact products. Eight lanes share the rows, four
// the batch rows.
template <class A, int M>
struct ScalarProduct {
  using Element = A;
  using Sum = A;
  static constexpr int kBlock = 8;
  static constexpr int kMaxTiles = sizeof(A) == 8 ? 1 : 4;  // registers: a double takes two

  static __device__ __forceinline__ int64_t exchange_index(int64_t k, int64_t row, int64_t rows) {
    return k * rows + row;
  }
  static __device__ __forceinline__ int64_t weight_index(int64_t k, int m, int unit) {
    return (k * M + m) * kUnits + unit;
  }

  template <int kTiles>
  struct Registers {
    static constexpr int kColumns = 2 * kTiles;
    A sum[M][2][kColumns];

    __device__ __forceinline__ void multiply(const A* weights, const A* exchange, int64_t rows, int64_t row0,
                                             int64_t blocks, int warp, int lane) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
          for (int c = 0; c < kColumns; c++) sum[m][i][c] = 0;
      const A* left = weights + lane / 4 * 2;
      const A* right = exchange + row0 + lane % 4 * kColumns;
      for (int64_t block = warp; block < blocks; block += kWarps)
#pragma unroll
        for (int j = 0; j < kBlock; j++) {
          const int64_t k = block * kBlock + j;
          A h[kColumns];
          load_fresh(h, right + k * rows);
#pragma unroll
          for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
              const A w = left[(k * M + m) * kUnits + i];
#pragma unroll
              for (int c = 0; c < kColumns; c++) sum[m][i][c] = fma(w, h[c], sum[m][i][c]);
            }
        }
    }

    __device__ __forceinline__ void put(A* sums, int stride, int lane) const {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
          for (int c = 0; c < kColumns; c++)
            sums[(m * kUnits + lane / 4 * 2 + i) * stride + lane % 4 * kColumns + c] = sum[m][i][c];
    }
  };
};

template <class S, int M>
struct ProductOf {
  using type = TensorProduct<S, M>;
};
template <int M>
struct ProductOf<float, M> {
  using type = ScalarProduct<float, M>;
};
template <int M>
struct ProductOf<double, M> {
  using type = ScalarProduct<double, M>;
};

}  // namespace pyrnn
