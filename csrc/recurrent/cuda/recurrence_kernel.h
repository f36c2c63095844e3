// The recurrence: a block multiplies, updates the cells of its own units, and publishes their states.
//
// One launch makes any number of steps. Blocks of one direction and slice wait for each other after each; the
// step engine launches once a step instead, and the end of a launch is the barrier. The wait is split in two,
// so that what does not depend on the others is fetched in between.
#pragma once
#include "recurrent/cuda/backward.h"
#include "recurrent/cuda/exchange.h"
#include "recurrent/cuda/forward.h"

namespace pyrnn::recurrent::cuda {

// Sums over K, in as many parts as half the warps: [part][M][pair][2]. The other half adds to them.
constexpr int kParts = kWarps / 2;
template <class Step, int kTiles>
constexpr size_t kSums = kParts * Step::M * kTiles * kPairsOfTile * 2;

template <class Step, template <class, int> class ExchangeOf, int kTiles>
__global__ void __launch_bounds__(kBlockThreads, 1) recurrence_kernel(const __grid_constant__ Recurrence w) {
  using A = typename Step::A;
  using Product = typename Step::Product;
  using Element = typename Step::Element;
  constexpr int M = Step::M, kRows = kTiles * kTileRows, kPairs = kTiles * kPairsOfTile;

  DYNAMIC_SHARED(memory);
  SharedAllocator allocator{memory};
  A* sums = allocator.take<A>(kSums<Step, kTiles>);
  ExchangeOf<Product, Step::kTerms> exchange(w, allocator);
  const Step step(w);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const size_t weight_bytes = step.K * M * kUnits * sizeof(Element);
  Element* const resident =
      (Element*)allocator.p;  // not null elsewhere: the compiler sees that it is shared memory
  if (w.resident) {
    allocator.take<unsigned char>(weight_bytes);
    for (size_t i = threadIdx.x; i < weight_bytes / 16; i += kBlockThreads)
      ((uint4*)resident)[i] = ((const uint4*)step.packed_weights())[i];
    __syncthreads();
  }
  // A thread's rows stay the same where the block takes all rows of its slice at once.
  const bool at_once = w.rows == kRows;
  typename Step::Row row[2];
  auto load_rows = [&](int64_t row0) {
#pragma unroll
    for (int i = 0; i < 2; i++)
      row[i] = step.row_at(row0 + Product::row_of(threadIdx.x) + i, threadIdx.x < kPairs);
  };
  if (at_once) load_rows(0);

  const int64_t s0 = step.direction.s0, s1 = step.direction.s1;
  exchange.open(s0);
  for (int64_t s = s0; s < s1; s++) {
    exchange.select_buffers(s);
    for (int64_t row0 = 0; row0 < w.rows; row0 += kRows) {
      if (!at_once) load_rows(row0);
      typename Step::StepInputs inputs[2]{};
      typename Step::Result result[2]{};
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (row[i].own) inputs[i] = step.fetch(s, row[i]);
      if (row0 == 0 && s > s0) exchange.wait(s);
      {
        typename Product::template Registers<kTiles> registers;
        const int64_t blocks = step.K / Product::kBlock;
        if (w.resident)  // apart, so that the compiler knows which memory it reads
          registers.multiply(resident, exchange, row0, blocks, warp, lane);
        else
          registers.multiply(step.packed_weights(), exchange, row0, blocks, warp, lane);
        A* part = sums + warp % kParts * M * kPairs * 2;
        if (warp >= kParts) registers.put(part, lane, false);
        __syncthreads();
        if (warp < kParts) registers.put(part, lane, true);
      }
      __syncthreads();
      A sum[2][M];
#pragma unroll
      for (int m = 0; m < M; m++) {
        sum[0][m] = sum[1][m] = 0;
        if (threadIdx.x < kPairs)
#pragma unroll
          for (int part = 0; part < kParts; part++) {
            const Pair<A> both = ((const Pair<A>*)sums)[(part * M + m) * kPairs + threadIdx.x];
            sum[0][m] += both.first, sum[1][m] += both.second;
          }
      }
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (row[i].own) result[i] = step.publish(inputs[i], row[i], sum[i], exchange);
      // The sums are read: the next rows may overwrite them. After the last step it arrives too, because the
      // next launch counts on.
      if (row0 + kRows < w.rows)
        __syncthreads();
      else
        exchange.arrive();
#pragma unroll
      for (int i = 0; i < 2; i++) {
        if (row[i].own) step.store_outputs(inputs[i], row[i], result[i]);
        if (!at_once) step.store_state(row[i]);
      }
    }
  }
  for (int i = 0; at_once && i < 2; i++) step.store_state(row[i]);
  if (s1 > s0) exchange.close(s1);
}

}  // namespace pyrnn::recurrent::cuda
