// The walk: a block multiplies, applies the gate maths to its own units, and tells the others.
//
// One launch makes any number of steps. Blocks of one direction and slice meet after each; the step engine
// launches once a step instead, and the end of a launch is the meeting. The wait is split in two, so that
// what does not depend on the others is fetched in between.
#pragma once
#include "backward.h"
#include "exchange.h"
#include "forward.h"

namespace pyrnn {

// Sums of all warps: [warp][M][pair][2].
template <class Step, int kTiles>
constexpr size_t kSums = kWarps * Step::M * kTiles * kPairsOfTile * 2;

template <class Step, template <class, int> class ExchangeOf, int kTiles>
__global__ void __launch_bounds__(kBlockThreads, 1) walk_kernel(const __grid_constant__ Walk w) {
  using A = typename Step::A;
  using Product = typename Step::Product;
  using Element = typename Step::Element;
  constexpr int M = Step::M, kRows = kTiles * kTileRows, kPairs = kTiles * kPairsOfTile;

  DYNAMIC_SHARED(memory);
  Carve carve{memory};
  A* sums = carve.take<A>(kSums<Step, kTiles>);
  ExchangeOf<Product, Step::kTerms> exchange(w, carve);
  const Step step(w);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const Element* weights = step.packed_weights();
  if (w.resident) {
    const size_t bytes = step.K * M * kUnits * sizeof(Element);
    unsigned char* own = carve.take<unsigned char>(bytes);
    for (size_t i = threadIdx.x; i < bytes / 16; i += kBlockThreads)
      ((uint4*)own)[i] = ((const uint4*)weights)[i];
    weights = (const Element*)own;
    __syncthreads();
  }
  const int64_t s0 = step.direction.s0, s1 = step.direction.s1;
  exchange.open(s0);
  for (int64_t s = s0; s < s1; s++) {
    exchange.enter(s);
    for (int64_t row0 = 0; row0 < w.rows; row0 += kRows) {
      const int64_t row = row0 + Product::row_of(threadIdx.x);
      typename Step::Item item[2]{};
      typename Step::Result result[2]{};
      bool own[2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int64_t b = step.slice * w.rows + row + i;
        own[i] = threadIdx.x < kPairs && b < w.B && step.unit < w.H;
        if (own[i]) item[i] = step.fetch(s, b, row + i);
      }
      if (row0 == 0 && s > s0) exchange.wait(s);
      {
        typename Product::template Registers<kTiles> registers;
        registers.multiply(weights, exchange, row0, step.K / Product::kBlock, warp, lane);
        registers.put(sums + warp * M * kPairs * 2, lane);
      }
      __syncthreads();
      A sum[2][M];
#pragma unroll
      for (int m = 0; m < M; m++) {
        sum[0][m] = sum[1][m] = 0;
        if (threadIdx.x < kPairs)
#pragma unroll
          for (int part = 0; part < kWarps; part++) {
            const Pair<A> both = ((const Pair<A>*)sums)[(part * M + m) * kPairs + threadIdx.x];
            sum[0][m] += both.first, sum[1][m] += both.second;
          }
      }
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (own[i]) result[i] = step.tell(item[i], sum[i], row + i, exchange);
      // The sums are read: the next rows may overwrite them. After the last step it arrives too, because the
      // next launch counts on.
      if (row0 + kRows < w.rows)
        __syncthreads();
      else
        exchange.arrive();
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (own[i]) step.keep(item[i], result[i], row + i);
    }
  }
  if (s1 > s0) exchange.close(s1);
}

}  // namespace pyrnn
