// One thread's part of a forward step: the gate maths of its unit for one batch row.
#pragma once
#include "block.h"

namespace pyrnn {

template <class Cell, class S>
struct Forward : Place<Cell, S, Pass::forward> {
  using Place = pyrnn::Place<Cell, S, Pass::forward>;
  using Place::direction, Place::unit, Place::w;
  using typename Place::A;

  A bias[Cell::kSlots];

  // What one item reads that the step before has not made: fetched while the block waits.
  struct Item {
    int64_t b, length, t, token;
    bool live;
    A input[Cell::kGates];
    A carry;
  };

  __device__ explicit Forward(const Walk& walk) : Place(walk) {
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

  __device__ Item fetch(int64_t s, int64_t b, int64_t row) const {
    Item item{};
    item.b = b, item.t = this->time_of(s), item.length = length_of(w, b);
    item.live = item.t < item.length;
    if (!item.live) return item;
    item.token = token_of(w, item.t, b);
    const A* gx = (const A*)direction.gx + (item.token - direction.gx_row0) * Cell::kGates * w.H + unit;
#pragma unroll
    for (int g = 0; g < Cell::kGates; g++) item.input[g] = gx[Cell::input_gate(g) * w.H];
    if (Cell::kCarry != Carry::none) item.carry = this->carry(row);
    return item;
  }

  // `sum`: W_hh h of the unit's gates. `from`, `to`: the exchange buffers read and written in this step.
  __device__ void apply(const Item& item, const A* sum, int64_t row, typename Place::Element* from,
                        typename Place::Element* to) const {
    S* y = !w.step_offset || item.live ? row_of<S>(w, w.y, item.t, item.b) : nullptr;
    S* cells = !w.step_offset || item.live ? row_of<S>(w, w.cells, item.t, item.b) : nullptr;
    const int64_t column = this->d * w.H + unit;
    if (!item.live) {  // padding: zeros out, the state waits
      if (y) y[column] = S(0);
      if (cells) cells[column] = S(0);
      this->exchanged(to, 0, row) = __ldcg(&this->exchanged(from, 0, row));
      return;
    }
    if (Cell::kCarry == Carry::cell && w.workspace && starts_span(item.t)) checkpoint(item);
    A slot[Cell::kSlots], carry = item.carry;
#pragma unroll
    for (int i = 0; i < Cell::kSlots; i++) slot[i] = bias[i];
#pragma unroll
    for (int g = 0; g < Cell::kGates; g++) {
      slot[Cell::kInputSlot + g] += item.input[g];
      slot[Cell::kHiddenSlot + g] += sum[g];
    }
    const A h = Cell::template forward<DeviceMath>(slot, carry);
    if (Cell::kCarry != Carry::none) this->carry(row) = carry;
    y[column] = narrow<S>(h);
    if (cells) cells[column] = narrow<S>(carry);
    if (Cell::kSaved && direction.saved) {
      A* saved = this->saved_at(item.token);
#pragma unroll
      for (int i = 0; i < Cell::kSlots; i++) saved[i * padded_units(w.H)] = slot[i];
      if (Cell::kCarry == Carry::cell) saved[Cell::kSlots * padded_units(w.H)] = carry;
    }
    this->exchanged(to, 0, row) = narrow<S>(h);
    if (!this->leaves(item.t, item.length)) return;
    ((S*)direction.last_h)[item.b * w.H + unit] = narrow<S>(h);
    if (Cell::kCarry == Carry::cell) ((S*)direction.last_c)[item.b * w.H + unit] = narrow<S>(carry);
  }

 private:
  // Whether c before step t is kept for recomputing the gates of t's span.
  __device__ bool starts_span(int64_t t) const {
    return (this->in_time_order ? t : t + 1) % w.checkpoint_every == 0;
  }
  __device__ void checkpoint(const Item& item) const {
    const int64_t spans = (w.T + w.checkpoint_every - 1) / w.checkpoint_every;
    A* kept = (A*)w.workspace +
              ((this->d * spans + item.t / w.checkpoint_every) * w.B + item.b) * padded_units(w.H);
    kept[unit] = item.carry;
  }
};

}  // namespace pyrnn
