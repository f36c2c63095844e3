// One thread's part of a forward step: the cell update of its unit for one batch row.
#pragma once
#include "recurrent/cuda/block.h"

namespace pyrnn::recurrent::cuda {

template <class Cell, class S>
struct Forward : ThreadContext<Cell, S, Pass::forward> {
  using ThreadContext = cuda::ThreadContext<Cell, S, Pass::forward>;
  using ThreadContext::direction, ThreadContext::unit, ThreadContext::w;
  using typename ThreadContext::A;
  using typename ThreadContext::Row;

  A bias[Cell::kSlots];

  // What one row reads that the step before has not made: fetched while the block waits.
  struct StepInputs {
    int64_t t, token;
    bool live, cut;  // `cut`: the next step finds zeros, whatever this one makes
    A input[Cell::kGates];
  };

  __device__ explicit Forward(const Recurrence& recurrence) : ThreadContext(recurrence) {
#pragma unroll
    for (int s = 0; s < Cell::kSlots; s++) bias[s] = 0;
    if (unit >= w.H) return;
#pragma unroll
    for (int g = 0; g < Cell::kGates; g++) {
      const S *b_ih = (const S*)direction.b_ih, *b_hh = (const S*)direction.b_hh;
      if (b_ih) bias[Cell::kInputSlot + g] += widen(b_ih[Cell::input_gate(g) * w.H + unit]);
      if (b_hh) bias[Cell::kHiddenSlot + g] += widen(b_hh[Cell::hidden_gate(g) * w.H + unit]);
    }
  }

  __device__ StepInputs fetch(int64_t s, const Row& at) const {
    StepInputs inputs{};
    inputs.t = this->time_of(s);
    inputs.live = inputs.t < at.length;
    if (!inputs.live) return inputs;
    inputs.token = token_of(w, inputs.t, at.b);
    inputs.cut = cut_after(w, this->d, inputs.t, at.b, at.length);
    const A* gx = (const A*)direction.gx + (inputs.token - direction.gx_row0) * Cell::kGates * w.H + unit;
#pragma unroll
    for (int g = 0; g < Cell::kGates; g++) inputs.input[g] = gx[Cell::input_gate(g) * w.H];
    return inputs;
  }

  // What a step makes, for the others (`next`) and to be kept.
  struct Result {
    A slot[Cell::kSlots];
    A h, carry;
  };

  // `sum`: W_hh h of the unit's gates.
  template <class Exchange>
  __device__ Result publish(const StepInputs& inputs, const Row& at, const A* sum,
                            const Exchange& exchange) const {
    Result result{};
    if (!inputs.live) {  // padding: the state waits
      exchange.put(0, unit, at.row, exchange.own(0, unit, at.row));
      return result;
    }
    result.carry = at.carry;
#pragma unroll
    for (int i = 0; i < Cell::kSlots; i++) result.slot[i] = bias[i];
#pragma unroll
    for (int g = 0; g < Cell::kGates; g++) {
      result.slot[Cell::kInputSlot + g] += inputs.input[g];
      result.slot[Cell::kHiddenSlot + g] += sum[g];
    }
    result.h = Cell::template forward<MathFor<S>>(result.slot, result.carry);
    exchange.put(0, unit, at.row, narrow<S>(inputs.cut ? A(0) : result.h));
    return result;
  }

  // What nobody waits for. Padding is zeros.
  __device__ void store_outputs(const StepInputs& inputs, Row& at, const Result& result) const {
    if (inputs.live || !w.step_offset) {
      const int64_t column = this->d * w.H + unit;
      row_of<S>(w, w.y, inputs.t, at.b)[column] = narrow<S>(result.h);
      if (S* cells = row_of<S>(w, w.cells, inputs.t, at.b)) cells[column] = narrow<S>(result.carry);
    }
    if (!inputs.live) return;
    if (Cell::kCarry == Carry::cell && w.workspace && starts_segment(inputs.t)) checkpoint(inputs.t, at);
    at.carry = inputs.cut ? A(0) : result.carry;
    if (Cell::kSaved && direction.saved) {
      A* saved = this->saved_at(inputs.token);
#pragma unroll
      for (int i = 0; i < Cell::kSlots; i++) saved[i * padded_units(w.H)] = result.slot[i];
      if (Cell::kCarry == Carry::cell) saved[Cell::kSlots * padded_units(w.H)] = result.carry;
    }
    if (!this->ends(inputs.t, at.length)) return;
    ((S*)direction.last_h)[at.b * w.H + unit] = narrow<S>(result.h);
    if (Cell::kCarry == Carry::cell) ((S*)direction.last_c)[at.b * w.H + unit] = narrow<S>(result.carry);
  }

 private:
  // Whether c before step t is kept for recomputing the gates of t's segment.
  __device__ bool starts_segment(int64_t t) const {
    return (this->in_time_order ? t : t + 1) % w.checkpoint_every == 0;
  }
  __device__ void checkpoint(int64_t t, const Row& at) const {
    const int64_t segments = (w.T + w.checkpoint_every - 1) / w.checkpoint_every;
    A* kept =
        (A*)w.workspace + ((this->d * segments + t / w.checkpoint_every) * w.B + at.b) * padded_units(w.H);
    kept[unit] = at.carry;
  }
};

}  // namespace pyrnn::recurrent::cuda
