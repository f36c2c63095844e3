// The gates of a segment again, from its input and hidden products: a thread computes one unit of one batch
// row. Every h is known from the output, so only c has to be carried from step to step.
#pragma once
#include "recurrent/cuda/block.h"

namespace pyrnn::recurrent::cuda {

template <class Cell, class S>
__global__ void __launch_bounds__(kBlockThreads) replay_kernel(const __grid_constant__ Recurrence w) {
  using A = typename Accumulate<S>::type;
  const int64_t d = blockIdx.z, thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t b = thread / w.H, unit = thread % w.H;
  if (b >= w.B || !Cell::kSaved) return;
  const Direction& direction = w.direction[d];
  const int64_t length = length_of(w, b), H = w.H, Hp = padded_units(H), every = w.checkpoint_every;
  // The segment's steps of the backward pass, in the order of the forward one.
  const int64_t begin = d == 0 ? w.T - direction.s1 : direction.s0;
  const int64_t end = min_of(d == 0 ? w.T - direction.s0 : direction.s1, length);
  if (begin >= end) return;
  const S *b_ih = (const S*)direction.b_ih, *b_hh = (const S*)direction.b_hh;
  A bias[Cell::kSlots] = {};
  for (int g = 0; g < Cell::kGates; g++) {
    if (b_ih) bias[Cell::kInputSlot + g] += widen(b_ih[Cell::input_gate(g) * H + unit]);
    if (b_hh) bias[Cell::kHiddenSlot + g] += widen(b_hh[Cell::hidden_gate(g) * H + unit]);
  }
  A carry = 0;
  if (Cell::kCarry == Carry::cell) {
    const bool first = d == 0 ? begin == 0 : end == length;
    if (!first)
      carry =
          ((const A*)w.workspace)[((d * ((w.T + every - 1) / every) + begin / every) * w.B + b) * Hp + unit];
    else if (direction.c0)
      carry = widen(((const S*)direction.c0)[b * H + unit]);
  }
  for (int64_t i = 0; i < end - begin; i++) {
    const int64_t t = d == 0 ? begin + i : end - 1 - i, token = token_of(w, t, b);
    if (cut_before(w, d, t, b, length)) carry = 0;
    const int64_t row = (token - direction.gx_row0) * Cell::kGates * H + unit;
    A slot[Cell::kSlots];
    for (int s = 0; s < Cell::kSlots; s++) slot[s] = bias[s];
    for (int g = 0; g < Cell::kGates; g++) {
      slot[Cell::kInputSlot + g] += ((const A*)direction.gx)[row + Cell::input_gate(g) * H];
      slot[Cell::kHiddenSlot + g] += ((const A*)direction.gh)[row + Cell::hidden_gate(g) * H];
    }
    Cell::template forward<MathFor<S>>(slot, carry);
    A* saved = (A*)direction.saved + (token - direction.saved_row0) * Cell::kSaved * Hp + unit;
    for (int s = 0; s < Cell::kSlots; s++) saved[s * Hp] = slot[s];
    if (Cell::kCarry == Carry::cell) saved[Cell::kSlots * Hp] = carry;
  }
}

}  // namespace pyrnn::recurrent::cuda
