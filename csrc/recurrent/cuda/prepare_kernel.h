// Before the first step: packs the weights into the product's order, a block's own part together, and puts
// the initial states where the kernels look for them. Everything that stays zero was zeroed by the caller.
#pragma once
#include "recurrent/cuda/block.h"

namespace pyrnn::recurrent::cuda {

// Grid: x divides the numbers of a block of units, y goes over those blocks, z over the directions.
template <class Cell, class S, Pass kPass>
__global__ void __launch_bounds__(kBlockThreads) prepare_kernel(const __grid_constant__ Recurrence w) {
  using Types = BlockTypes<Cell, S, kPass>;
  using A = typename Types::A;
  using Product = typename Types::Product;
  using Element = typename Types::Element;
  constexpr int M = Types::M;
  const int64_t d = blockIdx.z, H = w.H, K = w.k_slot * Types::kTerms, unit0 = int64_t(blockIdx.y) * kUnits;
  const Direction& direction = w.direction[d];
  const S* w_hh = (const S*)direction.w_hh;
  Element* weights = (Element*)w.weights + (d * w.unit_blocks + blockIdx.y) * K * M * kUnits;
  if (kPass == Pass::forward) {  // rows of W_hh: neighbours in k lie together
    for (int line = blockIdx.x; line < M * kUnits; line += gridDim.x) {
      const int m = line / kUnits, unit = line % kUnits;
      const S* from = w_hh + (Cell::hidden_gate(m) * H + unit0 + unit) * H;
      for (int64_t k = threadIdx.x; k < K; k += kBlockThreads)
        weights[Product::weight_index(k, m, unit)] = unit0 + unit < H && k < H ? from[k] : S(0);
    }
  } else {  // columns of W_hh: neighbours in the unit lie together
    const int64_t first = int64_t(blockIdx.x) * kBlockThreads + threadIdx.x, unit = unit0 + first % kUnits;
    for (int term = 0; term < Types::kTerms; term++)
      for (int64_t k = first / kUnits; k < w.k_slot; k += int64_t(gridDim.x) * kBlockThreads / kUnits)
        weights[Product::weight_index(term * w.k_slot + k, 0, int(first % kUnits))] =
            unit < H && k < H ? w_hh[(Cell::hidden_grad_gate(term) * H + k) * H + unit] : S(0);
  }
  const int64_t thread = (int64_t(blockIdx.y) * gridDim.x + blockIdx.x) * kBlockThreads + threadIdx.x;
  const int64_t threads = int64_t(gridDim.x) * gridDim.y * kBlockThreads;
  for (int64_t i = thread; kPass == Pass::forward && i < w.B * w.H; i += threads) {
    const int64_t b = i / w.H, unit = i % w.H, slice = b / w.rows, row = b % w.rows;
    Element* exchange = (Element*)w.exchange + (d * w.slices + slice) * 2 * K * w.rows;
    const S* h0 = (const S*)direction.h0;
    if (h0) exchange[Product::exchange_index(unit, row, w.rows)] = h0[i];
    const S* state = (const S*)(Cell::kCarry == Carry::cell ? direction.c0 : direction.h0);
    if (Cell::kCarry != Carry::none && state)
      ((A*)w.carry)[(((d * w.unit_blocks + unit / kUnits) * w.slices + slice) * w.rows + row) * kUnits +
                    unit % kUnits] = widen(state[i]);
  }
}

}  // namespace pyrnn::recurrent::cuda
