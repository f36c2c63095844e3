// The product of a block: sums[M * 16 rows][8 * kTiles batch rows] = weights . exchange, K split among the
// warps.
//
// A product says how weights and exchange are laid out (`weight_index`, `exchange_index`), in which steps of
// K it goes (kBlock), multiplies one warp's part into registers, and puts those into shared memory. There
// the sums stand in pairs, [m][pair], of one unit (`unit_of`) and two neighbouring batch rows (`row_of`), in
// an order that costs neither the writer nor a reader with one pair a thread a bank conflict, and that gives
// a warp of readers whole runs of units. Partial sums are added in a fixed order, so the bits never depend on
// timing.
#pragma once
#include "common/cuda/scalar.h"
#include "recurrent/cuda/recurrence.h"

namespace pyrnn::recurrent::cuda {

template <class A>
struct alignas(2 * sizeof(A)) Pair {
  A first, second;
};

constexpr int kPairsOfTile = kUnits * kTileRows / 2;

// Tensor cores: bfloat16 and float16 with float sums, mma.m16n8k16.
//
// The order of K within a block of 32 is free as long as both operands agree: lane 4g + t takes the eight
// neighbours k = 8t..8t+7 of batch row g, so one 16-byte load brings the right operand of two mma tiles. The
// order of units in a tile is free too: rows g and g + 8, which one lane holds, are neighbours.
template <class S, int M>
struct TensorProduct {
  using Element = S;
  static constexpr int kBlock = 32;
  static constexpr int kMaxTiles = 4;
  static constexpr int kPrefetch =
      4;  // blocks whose right operands are fetched together: the wait is as long as for one

  // [k block][batch row][kRun]: kRun neighbours in k stand together.
  template <int kRun>
  static __device__ __forceinline__ int64_t local_index(int64_t k, int64_t row, int64_t rows) {
    return (k / kRun * rows + row) * kRun + k % kRun;
  }
  static __device__ __forceinline__ int64_t exchange_index(int64_t k, int64_t row, int64_t rows) {
    return local_index<kBlock>(k, row, rows);
  }
  // [k block][half of the block][M][lane][register][2]: the left operand's fragments, 16 bytes a lane.
  static __device__ __forceinline__ int64_t weight_index(int64_t k, int m, int unit) {
    const int in_block = int(k % 32), t = in_block / 8, j = in_block % 8;
    const int half = j / 4, reg = (j / 2 % 2) * 2 + unit % 2, lane = unit / 2 * 4 + t;
    return ((((k / 32) * 2 + half) * M + m) * 32 + lane) * 8 + reg * 2 + j % 2;
  }
  // [tile][lane][rows g, g + 8]
  static __device__ __forceinline__ int unit_of(int pair) { return pair % 64 / 8 * 2 + pair % 2; }
  static __device__ __forceinline__ int row_of(int pair) { return pair / 64 * kTileRows + pair / 2 % 4 * 2; }

  template <int kTiles>
  struct Registers {
    float sum[M][kTiles][4];

    template <class Exchange>
    __device__ __forceinline__ void multiply(const S* weights, const Exchange& exchange, int64_t row0,
                                             int64_t blocks, int warp, int lane) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < kTiles; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) sum[m][n][i] = 0;
      for (int64_t first = warp; first < blocks; first += kWarps * kPrefetch) {
        uint4 right[kPrefetch][kTiles];
#pragma unroll
        for (int i = 0; i < kPrefetch; i++) {
          const int64_t block = first + i * kWarps;
          if (block < blocks)
#pragma unroll
            for (int n = 0; n < kTiles; n++)
              right[i][n] = exchange.template load<uint4>(block * kBlock + lane % 4 * 8,
                                                          row0 + n * kTileRows + lane / 4);
        }
#pragma unroll
        for (int i = 0; i < kPrefetch; i++) {
          const int64_t block = first + i * kWarps;
          if (block < blocks) add((const uint4*)weights + block * 2 * M * 32 + lane, right[i]);
        }
      }
    }

    // Stores the sums, or adds them to what another warp has stored.
    __device__ __forceinline__ void put(float* sums, int lane, bool add) const {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < kTiles; n++) {
          float4& there = ((float4*)sums)[(m * kTiles + n) * 32 + lane];
          float4 all = make_float4(sum[m][n][0], sum[m][n][1], sum[m][n][2], sum[m][n][3]);
          if (add) all.x += there.x, all.y += there.y, all.z += there.z, all.w += there.w;
          there = all;
        }
    }

   private:
    __device__ __forceinline__ void add(const uint4* weights, const uint4 (&right)[kTiles]) {
#pragma unroll
      for (int half = 0; half < 2; half++)
#pragma unroll
        for (int m = 0; m < M; m++) {
          const uint4 left = weights[(half * M + m) * 32];
          const uint32_t a[4] = {left.x, left.y, left.z, left.w};
#pragma unroll
          for (int n = 0; n < kTiles; n++) {
            const uint32_t b[2] = {half ? right[n].z : right[n].x, half ? right[n].w : right[n].y};
            ptx::mma_m16n8k16(sum[m][n], a, b, S());
          }
        }
    }
  };
};

// Multiply-adds in the sums' own type: float32 and float64, exact products. Eight lanes share the units, four
// the batch rows of a tile.
template <class A, int M>
struct ScalarProduct {
  using Element = A;
  static constexpr int kBlock = 8;
  static constexpr int kMaxTiles = sizeof(A) == 8 ? 1 : 4;  // registers: a double takes two

  template <int>
  static __device__ __forceinline__ int64_t local_index(int64_t k, int64_t row, int64_t rows) {
    return k * rows + row;
  }
  static __device__ __forceinline__ int64_t exchange_index(int64_t k, int64_t row, int64_t rows) {
    return local_index<kBlock>(k, row, rows);
  }
  // [k][M][unit % 8][unit / 8]: the two units of a lane are neighbours.
  static __device__ __forceinline__ int64_t weight_index(int64_t k, int m, int unit) {
    return (k * M + m) * kUnits + unit % 8 * 2 + unit / 8;
  }
  // [tile][unit / 8][lane]
  static __device__ __forceinline__ int unit_of(int pair) { return pair % 32 / 4 + pair / 32 % 2 * 8; }
  static __device__ __forceinline__ int row_of(int pair) { return pair / 64 * kTileRows + pair % 4 * 2; }

  template <int kTiles>
  struct Registers {
    Pair<A> sum[M][kTiles][2];

    template <class Exchange>
    __device__ __forceinline__ void multiply(const A* weights, const Exchange& exchange, int64_t row0,
                                             int64_t blocks, int warp, int lane) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < kTiles; n++)
#pragma unroll
          for (int i = 0; i < 2; i++) sum[m][n][i] = {0, 0};
      const A* left = weights + lane / 4 * 2;
      for (int64_t block = warp; block < blocks; block += kWarps)
#pragma unroll
        for (int j = 0; j < kBlock; j++) {
          const int64_t k = block * kBlock + j;
          Pair<A> h[kTiles];
#pragma unroll
          for (int n = 0; n < kTiles; n++)
            h[n] = pair_of(exchange.template load<Word>(k, row0 + n * kTileRows + lane % 4 * 2));
#pragma unroll
          for (int m = 0; m < M; m++) {
            const Pair<A> w = *(const Pair<A>*)(left + (k * M + m) * kUnits);
#pragma unroll
            for (int n = 0; n < kTiles; n++) {
              sum[m][n][0].first = fma(w.first, h[n].first, sum[m][n][0].first);
              sum[m][n][0].second = fma(w.first, h[n].second, sum[m][n][0].second);
              sum[m][n][1].first = fma(w.second, h[n].first, sum[m][n][1].first);
              sum[m][n][1].second = fma(w.second, h[n].second, sum[m][n][1].second);
            }
          }
        }
    }

    __device__ __forceinline__ void put(A* sums, int lane, bool add) const {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < kTiles; n++)
#pragma unroll
          for (int i = 0; i < 2; i++) {
            Pair<A>& there = ((Pair<A>*)sums)[((m * kTiles + n) * 2 + i) * 32 + lane];
            Pair<A> all = sum[m][n][i];
            if (add) all.first += there.first, all.second += there.second;
            there = all;
          }
    }

   private:
    using Word = typename std::conditional<sizeof(A) == 8, double2, float2>::type;
    static __device__ __forceinline__ Pair<A> pair_of(Word word) { return {word.x, word.y}; }
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

}  // namespace pyrnn::recurrent::cuda
