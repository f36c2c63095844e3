// One thread's part of a backward step: the gradients of its unit's gates for one batch row.
#pragma once
#include "block.h"

namespace pyrnn {

template <class Cell, class S>
struct Backward : Place<Cell, S, Pass::backward> {
  using Place = pyrnn::Place<Cell, S, Pass::backward>;
  using Place::direction, Place::unit, Place::w;
  using typename Place::A;

  // What one item reads that the step before has not made: fetched while the block waits.
  struct Item {
    int64_t b, length, t, token;
    bool live, enters, after;  // `after`: the walk has just left this sequence
    A slot[Cell::kSlots];
    A previous, current;  // the state before and after the step, of the kind that the cell recalls
    A d_h, d_c;           // gradients from outside
    A carry;              // d_c, or what h receives past the products
  };

  __device__ explicit Backward(const Walk& walk) : Place(walk) {}

  __device__ Item fetch(int64_t s, int64_t b, int64_t row) const {
    Item item{};
    item.b = b, item.t = this->time_of(s), item.length = length_of(w, b);
    item.live = s < w.T && item.t < item.length;
    item.after = item.length > 0 && item.t == (this->in_time_order ? item.length : -1);
    if (Cell::kCarry != Carry::none && (item.live || item.after)) item.carry = this->carry(row);
    if (!item.live) return item;
    item.token = token_of(w, item.t, b);
    item.enters = this->enters(item.t, item.length);
    const int64_t column = this->d * w.H + unit, at = b * w.H + unit;
    if (const S* g_y = row_of<const S>(w, w.g_y, item.t, b)) item.d_h = widen(g_y[column]);
    if (const S* g_cells = row_of<const S>(w, w.g_cells, item.t, b)) item.d_c = widen(g_cells[column]);
    if (item.enters && direction.first_h) item.d_h += widen(((const S*)direction.first_h)[at]);
    if (item.enters && direction.first_c) item.d_c += widen(((const S*)direction.first_c)[at]);
    if (Cell::kSaved) {
      const A* saved = this->saved_at(item.token);
#pragma unroll
      for (int i = 0; i < Cell::kSlots; i++) item.slot[i] = saved[i * padded_units(w.H)];
    }
    recall(item);
    return item;
  }

  // What a step makes, for the others and to be kept.
  struct Result {
    A slot[Cell::kSlots];  // gradients
    A d_h, carry;
  };

  // `sum`: W_hh^T d_gates of the unit.
  template <class Exchange>
  __device__ Result tell(const Item& item, const A* sum, int64_t row, const Exchange& exchange) const {
    Result result{};
    result.d_h = sum[0];
    if (Cell::kCarry == Carry::hidden) result.d_h += item.carry;
    if (item.live) {
      A d_h = item.d_h, d_c = item.d_c, d_hidden;
      if (!item.enters) {
        d_h += result.d_h;
        if (Cell::kCarry == Carry::cell) d_c += item.carry;
      }
      Cell::template backward<DeviceMath>(item.slot, item.previous, item.current, d_h, d_c, result.slot,
                                          d_hidden);
      result.carry = Cell::kCarry == Carry::cell ? d_c : d_hidden;
    }
#pragma unroll
    for (int g = 0; g < Cell::kGates; g++)
      exchange.put(g, unit, row, narrow<S>(result.slot[Cell::kHiddenGradSlot + g]));
    return result;
  }

  // What nobody waits for. Padding is zeros; after the last step there is only d_h0.
  __device__ void keep(const Item& item, const Result& result, int64_t row) const {
    const int64_t at = item.b * w.H + unit;
    if (item.after && direction.last_h) ((S*)direction.last_h)[at] = narrow<S>(result.d_h);
    const bool token_exists = item.live || (!w.step_offset && item.t >= 0 && item.t < w.T);
    if (!token_exists) return;
    const int64_t token = token_of(w, item.t, item.b);
    S* d_gates = (S*)direction.d_gates + (token - direction.d_gates_row0) * Cell::kSlots * w.H + unit;
#pragma unroll
    for (int i = 0; i < Cell::kSlots; i++) d_gates[i * w.H] = narrow<S>(result.slot[i]);
    if (!item.live) return;
    if (Cell::kCarry != Carry::none) this->carry(row) = result.carry;
    if (Cell::kCarry == Carry::cell && direction.last_c && this->leaves(item.t, item.length))
      ((S*)direction.last_c)[at] = narrow<S>(result.carry);
  }

 private:
  __device__ void recall(Item& item) const {
    const int64_t column = this->d * w.H + unit;
    if (Cell::kRecall == Recall::current_hidden) {
      item.current = widen(row_of<const S>(w, w.y, item.t, item.b)[column]);
      return;
    }
    const int64_t before = this->d == 0 ? item.t - 1 : item.t + 1;
    const bool first = before < 0 || before >= item.length;
    if (Cell::kRecall == Recall::previous_hidden) {
      if (!first) item.previous = widen(row_of<const S>(w, w.y, before, item.b)[column]);
      if (first && direction.h0) item.previous = widen(((const S*)direction.h0)[item.b * w.H + unit]);
      return;
    }
    const int64_t c = Cell::kSlots * padded_units(w.H);
    item.current = this->saved_at(item.token)[c];
    if (first) {
      if (direction.c0) item.previous = widen(((const S*)direction.c0)[item.b * w.H + unit]);
    } else if (w.checkpoint_every && before / w.checkpoint_every != item.t / w.checkpoint_every) {
      const int64_t spans = (w.T + w.checkpoint_every - 1) / w.checkpoint_every;
      const int64_t span = item.t / w.checkpoint_every;
      item.previous =
          ((const A*)w.workspace)[((this->d * spans + span) * w.B + item.b) * padded_units(w.H) + unit];
    } else {
      item.previous = this->saved_at(token_of(w, before, item.b))[c];
    }
  }
};

}  // namespace pyrnn
