// What a block is: its position in the batch and the units, its steps, the tokens it computes.
#pragma once
#include <assert.h>

#include "common/pass.h"
#include "recurrent/cells/cell.h"
#include "recurrent/cuda/product.h"

namespace pyrnn::recurrent::cuda {

__device__ __forceinline__ int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

// Lengths on the device are not checked beforehand: that would wait for the device. A debug build stops at
// one outside [0, T]; others clamp it.
__device__ __forceinline__ int64_t length_of(const Recurrence& w, int64_t b) {
  if (!w.lengths) return w.T;
  const int64_t length = w.lengths[b];
  assert(0 <= length && length <= w.T);
  return length < 0 ? 0 : min_of(length, w.T);
}

// Number of token (t, b) in time-first order, that of every buffer which only the engine uses.
__device__ __forceinline__ int64_t token_of(const Recurrence& w, int64_t t, int64_t b) {
  return w.step_offset ? w.step_offset[t] + b : t * w.B + b;
}

// Row of token (t, b) in a caller's tensor; null where there is none.
template <class S>
__device__ __forceinline__ S* row_of(const Recurrence& w, const Sequence& sequence, int64_t t, int64_t b) {
  if (!sequence.data) return nullptr;
  return (S*)sequence.data +
         (w.step_offset ? (w.step_offset[t] + b) * sequence.b : t * sequence.t + b * sequence.b);
}

// Whether a reset keeps the state from passing between step t of a sequence and the one before it, or after
// it, in the direction's own order of time; first states that a reset cuts off were zeroed by the caller.
__device__ __forceinline__ bool is_cut(const Recurrence& w, int64_t later, int64_t b, int64_t length) {
  return w.reset && later > 0 && later < length && w.reset[token_of(w, later, b)];
}
__device__ __forceinline__ bool cut_before(const Recurrence& w, int64_t d, int64_t t, int64_t b,
                                           int64_t length) {
  return is_cut(w, d == 0 ? t : t + 1, b, length);
}
__device__ __forceinline__ bool cut_after(const Recurrence& w, int64_t d, int64_t t, int64_t b,
                                          int64_t length) {
  return is_cut(w, d == 0 ? t + 1 : t, b, length);
}

__device__ __forceinline__ int64_t padded_units(int64_t H) { return (H + 15) / 16 * 16; }

template <class Cell, Pass kPass>
constexpr int kRowsOfUnit = kPass == Pass::forward ? Cell::kGates : 1;

template <class Cell, class S, Pass kPass>
struct BlockTypes {
  using A = typename Accumulate<S>::type;
  static constexpr int M = kRowsOfUnit<Cell, kPass>;
  static constexpr int kTerms =
      kPass == Pass::forward ? 1 : Cell::kGates;  // numbers a unit puts into the exchange
  using Product = typename ProductOf<S, M>::type;
  using Element = typename Product::Element;
};

// What a thread knows of its position: it has one unit, and two neighbouring batch rows at a
// time.
template <class Cell, class S, Pass kPass>
struct ThreadContext : BlockTypes<Cell, S, kPass> {
  using Types = BlockTypes<Cell, S, kPass>;
  using typename Types::A;
  using typename Types::Element;
  using typename Types::Product;

  const Recurrence& w;
  const Direction& direction;
  const int64_t d, slice, unit_block;
  const int local_unit;
  const int64_t unit;
  const int64_t K;
  const bool in_time_order;

  __device__ explicit ThreadContext(const Recurrence& recurrence)
      : w(recurrence),
        direction(recurrence.direction[blockIdx.z]),
        d(blockIdx.z),
        slice(blockIdx.y),
        unit_block(blockIdx.x),
        local_unit(Product::unit_of(threadIdx.x)),
        unit(blockIdx.x * kUnits + local_unit),
        K(recurrence.k_slot * Types::kTerms),
        in_time_order((blockIdx.z == 0) == (kPass == Pass::forward)) {}

  // One batch row of a thread. The carry is the cell's state beside the exchange: c or h forward; backward
  // d_c, or what h receives past the products.
  struct Row {
    bool own;  // whether there is such a row and unit
    int64_t row, b, length;
    A carry;
  };
  __device__ Row row_at(int64_t row, bool works) const {
    Row at{};
    at.row = row, at.b = slice * w.rows + row;
    at.own = works && at.b < w.B && unit < w.H;
    if (!at.own) return at;
    at.length = length_of(w, at.b);
    if (Cell::kCarry != Carry::none) at.carry = carry_at(row);
    return at;
  }
  __device__ void store_state(const Row& at) const {
    if (at.own && Cell::kCarry != Carry::none) carry_at(at.row) = at.carry;
  }

  __device__ int64_t time_of(int64_t s) const { return in_time_order ? s : w.T - 1 - s; }
  // Whether t is this sequence's first step in the order of the pass.
  __device__ bool starts(int64_t t, int64_t length) const { return t == (in_time_order ? 0 : length - 1); }
  __device__ bool ends(int64_t t, int64_t length) const { return t == (in_time_order ? length - 1 : 0); }

  __device__ const Element* packed_weights() const {
    return (const Element*)w.weights + (d * w.unit_blocks + unit_block) * K * Types::M * kUnits;
  }
  __device__ A& carry_at(int64_t row) const {
    return ((A*)w.carry)[(((d * w.unit_blocks + unit_block) * w.slices + slice) * w.rows + row) * kUnits +
                         local_unit];
  }
  __device__ A* saved_at(int64_t token) const {
    return (A*)direction.saved + (token - direction.saved_row0) * Cell::kSaved * padded_units(w.H) + unit;
  }
};

}  // namespace pyrnn::recurrent::cuda
