// Before the first step: packs the weights into the product's order, a block's own part together, and puts
// the initial states where the walk looks for them. Everything that stays zero was zeroed by the caller.
#pragma once
#include "block.h"

namespace pyrnn {

// Element [m of M][unit][k] of the matrix that the blocks of direction d multiply by.
template <class Cell, class S, Pass kPass>
__device__ __forceinline__ S weight(const Walk& w, const S* w_hh, int m, int64_t unit, int64_t k) {
  const int64_t term = k / w.k_slot, other = k % w.k_slot;
  if (unit >= w.H || other >= w.H) return S(0);
  if (kPass == Pass::forward) return w_hh[(Cell::hidden_gate(m) * w.H + unit) * w.H + other];
  return w_hh[(Cell::hidden_grad_gate(term) * w.H + other) * w.H + unit];
}

template <class Cell, class S, Pass kPass>
__global__ void __launch_bounds__(kBlockThreads) prepare_kernel(const __grid_constant__ Walk w) {
  using Types = BlockTypes<Cell, S, kPass>;
  using A = typename Types::A;
  using Product = typename Types::Product;
  using Element = typename Types::Element;
  constexpr int M = Types::M;
  const int64_t d = blockIdx.z, K = w.k_slot * Types::kTerms;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x,
                threads = int64_t(gridDim.x) * blockDim.x;
  const WalkDirection& direction = w.direction[d];
  const int64_t block_size = K * M * kUnits;
  Element* weights = (Element*)w.weights + d * w.unit_blocks * block_size;
  for (int64_t i = thread; i < w.unit_blocks * block_size; i += threads) {
    const int64_t k = i % K, rest = i / K;
    const int unit = int(rest % kUnits), m = int(rest / kUnits % M);
    const int64_t block = rest / kUnits / M;
    weights[block * block_size + Product::weight_index(k, m, unit)] =
        weight<Cell, S, kPass>(w, (const S*)direction.w_hh, m, block * kUnits + unit, k);
  }
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

}  // namespace pyrnn
