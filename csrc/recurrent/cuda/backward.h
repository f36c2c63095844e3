// One thread's part of a backward step: the gradients of its unit's gates for one batch row.
#pragma once
#include "recurrent/cuda/block.h"

namespace pyrnn::recurrent::cuda {

template <class Cell, class S>
struct Backward : ThreadContext<Cell, S, Pass::backward> {
  using ThreadContext = cuda::ThreadContext<Cell, S, Pass::backward>;
  using ThreadContext::direction, ThreadContext::unit, ThreadContext::w;
  using typename ThreadContext::A;
  using typename ThreadContext::Row;

  // What one row reads that the step before has not made: fetched while the block waits, and not looked at
  // before `publish`, so that all of it is under way at once.
  struct StepInputs {
    int64_t t, token;
    bool live, starts, after;  // `after`: the pass has just left this sequence
    bool cut;                  // what the later step hands on is not this one's
    A slot[Cell::kSlots];
    S h_before, h_after, c0;           // the saved state, from the output or the initial state
    A c_before, c_after;               // the same, from the workspace
    S g_y, g_cells, first_h, first_c;  // gradients from outside
  };

  __device__ explicit Backward(const Recurrence& recurrence) : ThreadContext(recurrence) {}

  __device__ StepInputs fetch(int64_t s, const Row& at) const {
    StepInputs inputs{};
    inputs.t = this->time_of(s);
    inputs.live = s < w.T && inputs.t < at.length;
    inputs.after = at.length > 0 && inputs.t == (this->in_time_order ? at.length : -1);
    if (!inputs.live) return inputs;
    inputs.token = token_of(w, inputs.t, at.b);
    inputs.starts = this->starts(inputs.t, at.length);
    inputs.cut = cut_after(w, this->d, inputs.t, at.b, at.length);
    const int64_t column = this->d * w.H + unit, here = at.b * w.H + unit;
    if (const S* g_y = row_of<const S>(w, w.g_y, inputs.t, at.b)) inputs.g_y = g_y[column];
    if (const S* g_cells = row_of<const S>(w, w.g_cells, inputs.t, at.b)) inputs.g_cells = g_cells[column];
    if (inputs.starts && direction.first_h) inputs.first_h = ((const S*)direction.first_h)[here];
    if (inputs.starts && direction.first_c) inputs.first_c = ((const S*)direction.first_c)[here];
    if (Cell::kSaved) {
      const A* saved = this->saved_at(inputs.token);
#pragma unroll
      for (int i = 0; i < Cell::kSlots; i++) inputs.slot[i] = saved[i * padded_units(w.H)];
    }
    load_saved_state(inputs, at);
    return inputs;
  }

  // What a step makes, for the others and to be kept.
  struct Result {
    A slot[Cell::kSlots];  // gradients
    A d_h, carry;
  };

  // `sum`: W_hh^T d_gates of the unit.
  template <class Exchange>
  __device__ Result publish(const StepInputs& inputs, const Row& at, const A* sum,
                            const Exchange& exchange) const {
    Result result{};
    result.d_h = sum[0];
    if (Cell::kCarry == Carry::hidden) result.d_h += at.carry;
    if (inputs.live) {
      A d_h = widen(inputs.g_y) + widen(inputs.first_h), d_c = widen(inputs.g_cells) + widen(inputs.first_c),
        d_hidden;
      if (!inputs.starts && !inputs.cut) {
        d_h += result.d_h;
        if (Cell::kCarry == Carry::cell) d_c += at.carry;
      }
      const A before =
          Cell::kSavedState == SavedState::cell ? inputs.c_before + widen(inputs.c0) : widen(inputs.h_before);
      const A after = Cell::kSavedState == SavedState::cell ? inputs.c_after : widen(inputs.h_after);
      Cell::template backward<MathFor<S>>(inputs.slot, before, after, d_h, d_c, result.slot, d_hidden);
      result.carry = Cell::kCarry == Carry::cell ? d_c : d_hidden;
    }
#pragma unroll
    for (int g = 0; g < Cell::kGates; g++)
      exchange.put(g, unit, at.row, narrow<S>(result.slot[Cell::kHiddenGradSlot + g]));
    return result;
  }

  // What nobody waits for. Padding is zeros; after the last step there is only d_h0.
  __device__ void store_outputs(const StepInputs& inputs, Row& at, const Result& result) const {
    const int64_t here = at.b * w.H + unit;
    if (inputs.after && direction.last_h) ((S*)direction.last_h)[here] = narrow<S>(result.d_h);
    const bool token_exists = inputs.live || (!w.step_offset && inputs.t >= 0 && inputs.t < w.T);
    if (!token_exists) return;
    const int64_t token = token_of(w, inputs.t, at.b);
    S* d_gates = (S*)direction.d_gates + (token - direction.d_gates_row0) * Cell::kSlots * w.H + unit;
#pragma unroll
    for (int i = 0; i < Cell::kSlots; i++) d_gates[i * w.H] = narrow<S>(result.slot[i]);
    if (!inputs.live) return;
    at.carry = result.carry;
    if (Cell::kCarry == Carry::cell && direction.last_c && this->ends(inputs.t, at.length))
      ((S*)direction.last_c)[here] = narrow<S>(result.carry);
  }

 private:
  __device__ void load_saved_state(StepInputs& inputs, const Row& at) const {
    const int64_t column = this->d * w.H + unit, here = at.b * w.H + unit;
    if (Cell::kSavedState == SavedState::current_hidden) {
      inputs.h_after = row_of<const S>(w, w.y, inputs.t, at.b)[column];
      return;
    }
    const int64_t before = this->d == 0 ? inputs.t - 1 : inputs.t + 1;
    const bool first = before < 0 || before >= at.length;
    const bool cut = cut_before(w, this->d, inputs.t, at.b, at.length);
    if (Cell::kSavedState == SavedState::previous_hidden) {
      if (cut) return;
      if (!first) inputs.h_before = row_of<const S>(w, w.y, before, at.b)[column];
      if (first && direction.h0) inputs.h_before = ((const S*)direction.h0)[here];
      return;
    }
    const int64_t c = Cell::kSlots * padded_units(w.H), every = w.checkpoint_every;
    inputs.c_after = this->saved_at(inputs.token)[c];
    if (cut) return;
    if (first) {
      if (direction.c0) inputs.c0 = ((const S*)direction.c0)[here];
    } else if (every && before / every != inputs.t / every) {
      const int64_t segments = (w.T + every - 1) / every, segment = inputs.t / every;
      inputs.c_before =
          ((const A*)w.workspace)[((this->d * segments + segment) * w.B + at.b) * padded_units(w.H) + unit];
    } else {
      inputs.c_before = this->saved_at(token_of(w, before, at.b))[c];
    }
  }
};

}  // namespace pyrnn::recurrent::cuda
