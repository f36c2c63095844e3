// Products of one warp: sums stay in registers, operands come from tiles in shared memory or from other sums.
//
// All types share one layout of sums, that of the tensor cores: Sums[m][n][i] is the number in row
// m * 16 + lane / 4 + i / 2 * 8 and column n * 8 + lane % 4 * 2 + i % 2 of what the warp computes. So masks,
// softmax and dropout are written once. Two products are enough for both passes:
//
//   rows_by_rows       sums += a b^T, where a and b are rows of tiles: scores, and what makes them
//   sums_by_rows       sums += p b, where p are sums, rounded to S: what weights or d_scores are multiplied
//   with
//
// 16-bit types use tensor cores (mma.m16n8k16, float sums). float and double use exact multiply-adds, in
// ascending order of k: a b^T and b a^T have the same bits.
#pragma once
#include "attention/cuda/tile.h"

namespace pyrnn::attention::cuda {

template <class A, int kM, int kN>
using Sums = A[kM][kN][4];

__device__ __forceinline__ int warp_lane() { return int(threadIdx.x) % 32; }
// Places of a lane's sums: rows `sum_row` and 8 more, columns `sum_column` and 1 more.
__device__ __forceinline__ int sum_row() { return warp_lane() / 4; }
__device__ __forceinline__ int sum_column() { return warp_lane() % 4 * 2; }

template <class A, int kM, int kN>
__device__ __forceinline__ void clear(A (&sums)[kM][kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; m++)
#pragma unroll
    for (int n = 0; n < kN; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) sums[m][n][i] = 0;
}

template <class A, int kM, int kN>
__device__ __forceinline__ void copy_sums(const A (&from)[kM][kN][4], A (&to)[kM][kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; m++)
#pragma unroll
    for (int n = 0; n < kN; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) to[m][n][i] = from[m][n][i];
}

__device__ __forceinline__ uint32_t pack_pair(float low, float high, __nv_bfloat16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ uint32_t pack_pair(float low, float high, __half) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ __forceinline__ void unpack_pair(uint32_t pair, float* numbers, __nv_bfloat16) {
  numbers[0] = __uint_as_float(pair << 16), numbers[1] = __uint_as_float(pair & 0xffff0000u);
}
__device__ __forceinline__ void unpack_pair(uint32_t pair, float* numbers, __half) {
  const float2 both = __half22float2(*reinterpret_cast<const __half2*>(&pair));
  numbers[0] = both.x, numbers[1] = both.y;
}

// 16-bit types, on tensor cores. The addresses of all loads would fill many registers if they were kept over
// a loop around a product.
template <class S>
struct Product {
  static constexpr int kDepth = 16;  // features, or rows of b, of one instruction

  // Rows row .. row + 16 kM of a by rows 0 .. 8 kN of b, over the first `features` features.
  template <int kM, int kN, class TileA, class TileB>
  static __device__ __forceinline__ void rows_by_rows(float (&sums)[kM][kN][4], const TileA& a, int row,
                                                      const TileB& b, int features) {
    static_assert(kN % 2 == 0, "two column tiles a load");
    const int lane = ptx::opaque(warp_lane()), a_row = row + lane % 16, b_row = lane % 8 + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < TileA::kFeatures / kDepth; k++) {
      if (k * kDepth >= features) continue;
      uint32_t left[kM][4];
#pragma unroll
      for (int m = 0; m < kM; m++) ptx::ldmatrix_x4(left[m], a.chunk(a_row + m * 16, k * 2 + lane / 16));
#pragma unroll
      for (int n = 0; n < kN; n += 2) {
        uint32_t right[4];
        ptx::ldmatrix_x4(right, b.chunk(b_row + n * 8, k * 2 + lane / 8 % 2));
        const uint32_t first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
#pragma unroll
        for (int m = 0; m < kM; m++) {
          ptx::mma_m16n8k16(sums[m][n], left[m], first, S());
          ptx::mma_m16n8k16(sums[m][n + 1], left[m], second, S());
        }
      }
    }
  }

  // `p` [16 kM][8 kP] by rows 0 .. 8 kP of b, of which the first `features` features.
  template <int kM, int kP, int kN, class TileB>
  static __device__ __forceinline__ void sums_by_rows(float (&sums)[kM][kN][4], const float (&p)[kM][kP][4],
                                                      const TileB& b, int features) {
    static_assert(kN % 2 == 0 && kP % 2 == 0, "two column tiles a load, two of p's a product");
    const int lane = ptx::opaque(warp_lane()), b_row = lane % 16;
#pragma unroll
    for (int k = 0; k < kP / 2; k++) {
      uint32_t left[kM][4];
#pragma unroll
      for (int m = 0; m < kM; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const float* pair = &p[m][2 * k + i / 2][i % 2 * 2];
          left[m][i] = pack_pair(pair[0], pair[1], S());
        }
#pragma unroll
      for (int n = 0; n < kN; n += 2) {
        if (n * 8 >= features) continue;
        uint32_t right[4];
        ptx::ldmatrix_x4_trans(right, b.chunk(b_row + k * kDepth, n + lane / 16));
        const uint32_t first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
#pragma unroll
        for (int m = 0; m < kM; m++) {
          ptx::mma_m16n8k16(sums[m][n], left[m], first, S());
          ptx::mma_m16n8k16(sums[m][n + 1], left[m], second, S());
        }
      }
    }
  }
};

// float and double.
template <class A>
struct ExactProduct {
  template <int kM, int kN, class TileA, class TileB>
  static __device__ __forceinline__ void rows_by_rows(A (&sums)[kM][kN][4], const TileA& a, int row,
                                                      const TileB& b, int features) {
    constexpr int kChunk = TileA::kChunk;
    struct alignas(16) Chunk {
      A at[kChunk];
    };
    const int lane = ptx::opaque(warp_lane()), g = lane / 4, c = lane % 4 * 2;
#pragma unroll 1
    for (int k = 0; k * kChunk < features; k++) {
      Chunk left[kM][2];
#pragma unroll
      for (int m = 0; m < kM; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
          left[m][half] = *reinterpret_cast<const Chunk*>(a.chunk(row + m * 16 + g + half * 8, k));
#pragma unroll
      for (int n = 0; n < kN; n++)
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
          const Chunk right = *reinterpret_cast<const Chunk*>(b.chunk(n * 8 + c + odd, k));
#pragma unroll
          for (int m = 0; m < kM; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
              for (int j = 0; j < kChunk; j++) {
                A& sum = sums[m][n][half * 2 + odd];
                sum = fma(left[m][half].at[j], right.at[j], sum);
              }
        }
    }
  }

  template <int kM, int kP, int kN, class TileB>
  static __device__ __forceinline__ void sums_by_rows(A (&sums)[kM][kN][4], const A (&p)[kM][kP][4],
                                                      const TileB& b, int features) {
    struct alignas(2 * sizeof(A)) Pair {
      A first, second;
    };
    const int quad = warp_lane() & ~3;
#pragma unroll
    for (int k = 0; k < kP * 8; k++) {
      const int c = ptx::opaque(sum_column());
      A left[kM][2];  // column k of p, from the lane that has it
#pragma unroll
      for (int m = 0; m < kM; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
          left[m][half] = __shfl_sync(~0u, p[m][k / 8][half * 2 + k % 2], quad + k % 8 / 2);
#pragma unroll
      for (int n = 0; n < kN; n++) {
        if (n * 8 >= features) continue;
        const Pair right = *reinterpret_cast<const Pair*>(b.at(k, n * 8 + c));
#pragma unroll
        for (int m = 0; m < kM; m++)
#pragma unroll
          for (int half = 0; half < 2; half++) {
            A* sum = &sums[m][n][half * 2];
            sum[0] = fma(left[m][half], right.first, sum[0]);
            sum[1] = fma(left[m][half], right.second, sum[1]);
          }
      }
    }
  }
};
template <>
struct Product<float> : ExactProduct<float> {};
template <>
struct Product<double> : ExactProduct<double> {};

// A weight that masks add nothing to: it differs from one that is 0 because exp or dropout made it so. That
// one times NaN is NaN, this one is left out. It keeps its sign when it is rounded to 16 bits.
template <class A>
__device__ __forceinline__ bool is_masked_weight(A weight) {
  return weight == 0 && signbit(weight);
}

// The same as Product::sums_by_rows for a b with infinities or NaN, where they must not meet masked weights:
// one number after the other. All pass through local memory: in line it would take registers from the product
// that it stands for.
template <class S, int kM, int kP, int kN, class TileB, class A>
__device__ __noinline__ void visible_sums_in_memory(A (*sums)[kN][4], const A (*p)[kP][4], TileB b,
                                                    int features) {
  const int quad = warp_lane() & ~3, c = sum_column();
#pragma unroll 1
  for (int k = 0; k < kP * 8; k++)
#pragma unroll 1
    for (int row = 0; row < 2 * kM; row++) {  // of the lane
      const int m = row / 2, half = row % 2;
      const A left = widen(narrow<S>(__shfl_sync(~0u, p[m][k / 8][half * 2 + k % 2], quad + k % 8 / 2)));
      if (is_masked_weight(left)) continue;
#pragma unroll 1
      for (int n = 0; n * 8 < features; n++)
        for (int odd = 0; odd < 2; odd++) {
          A& sum = sums[m][n][half * 2 + odd];
          sum = fma(left, A(widen(*b.at(k, n * 8 + c + odd))), sum);
        }
    }
}

template <class S, int kM, int kP, int kN, class TileB, class A>
__device__ __forceinline__ void visible_sums_by_rows(A (&sums)[kM][kN][4], const A (&p)[kM][kP][4],
                                                     const TileB& b, int features) {
  A sums_in_memory[kM][kN][4], p_in_memory[kM][kP][4];
  copy_sums(sums, sums_in_memory), copy_sums(p, p_in_memory);
  visible_sums_in_memory<S, kM, kP, kN>(sums_in_memory, p_in_memory, b, features);
  copy_sums(sums_in_memory, sums);
}

}  // namespace pyrnn::attention::cuda
