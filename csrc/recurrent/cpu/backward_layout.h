// Scratch memory of the backward pass, for the recurrence, the recomputation and the large products.
#pragma once
#include "common/few_rows.h"
#include "recurrent/cpu/forward_weights.h"

namespace pyrnn::recurrent {
namespace {

template <class Cell, class S, class Op>
struct BackwardLayout {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  using Storage = typename Op::Storage;
  using Forward = ForwardWeights<Cell, S, Op>;
  static constexpr int L = kLanes<A>;
  static constexpr int kVectors = 2, kColumns = kVectors * L;  // a panel of the backward products
  static_assert(kColumns % Forward::kUnits == 0);
  static constexpr int64_t kSegmentTokens = 512;  // K of the large products: their C is read once per segment
  static constexpr int64_t kBlock = 64;           // rows of a left operand kept in L2 beside the panels
  static constexpr int64_t kBlockK = 512 / Op::kPerElement;  // elements: a tile's left operand stays in L1
  // Panels that are packed together: their rows lie side by side. Those of one step are a cache line further
  // apart than a power of two, which would put all of them into the same sets of the cache.
  static constexpr int64_t kStrip = 8, kBlockStride = kBlockK * kColumns + 64 / sizeof(Element);
  static constexpr int64_t kPackedTogether = 4;

  struct State {  // of one slice
    A* d_h;       // [rows][h_stride] gradient of the state that the products read
    A* d_carry;   // [rows][unit_stride]
    A* d_m;       // [rows][unit_stride] gradient of h before the projection
    A* carry;     // [rows][unit_stride] c, recomputed
  };

  struct Segment {         // of one direction; rows are its tokens in the order slice, time, row
    Storage* d_gates;      // [segment_rows][gate_stride], slots of unit_stride
    Storage* d_projected;  // [segment_rows][h_stride]
    A* saved;              // [segment_rows][kSaved][Hp], when recomputing
    Storage *x,
        *h;  // [segment_rows][x_stride], [segment_rows][h_stride]: inputs of the products, when recomputing
    int64_t *t, *b;  // [segment_rows] the token of each row
    Element *x_panels, *h_panels,
        *m_panels;  // the tokens' x, h_prev, m as right operands [panels][rows][kColumns]
  };

  struct Product {                // one direction's packed weights and sums
    Element* hh;                  // [h_panels][kGates * unit_stride][kColumns], unless used once
    Element* ih;                  // [x_panels][kGates * unit_stride][kColumns], unless used once
    Element* hr;                  // [unit_panels][P][kColumns]
    A* d_bias;                    // [kSlots][unit_stride]
    A *d_w_ih, *d_w_hh, *d_w_hr;  // sums where the storage type is not A; else the caller's own arrays
  };

  int64_t Hp, unit_panels, h_panels, x_panels, unit_stride, h_stride, x_stride, gate_stride, gate_K;
  int64_t segment_steps, segment_rows, segments;
  bool recompute, projected;
  bool in_place;   // few tokens: weights are used where they lie
  bool used_once;  // one step: each packed weight would be used once
  Forward forward[2];
  Product product[2];
  Segment segment[2];
  State* states;      // [slices]
  Element* strip;     // [kStrip][kBlockStride], private: weights that are used once, packed just before
  A* d_x;             // [N][x_stride], of weights that are read in place
  Element* left;      // [kBlock rows][segment_rows], private
  int64_t* step_row;  // [segment_steps + 1], private: first segment row of each step of the slice at hand

  size_t layout(char* base, const Problem& p, const Plan& plan, int thread) {
    Scratch s{base};
    Hp = round_up(p.H, kWorkspaceAlign);
    unit_panels = ceil_div(p.H, kColumns);
    h_panels = ceil_div(p.P, kColumns);
    x_panels = ceil_div(p.I, kColumns);
    unit_stride = unit_panels * kColumns;  // no less than the forward panels' units
    h_stride = round_up(p.P, 32) + 32;
    x_stride = round_up(p.I, 16) + 16;
    gate_K = Cell::kGates * unit_stride;
    gate_stride = Cell::kSlots * unit_stride + 32;
    projected = p.direction[0].w_hr != nullptr;
    in_place = Forward::in_place(p);
    used_once = p.T == 1 && !in_place;
    const bool packed = !in_place && !used_once;
    recompute = p.checkpoint_every && Cell::kSaved;
    segment_steps = recompute && Cell::kCarry == Carry::cell ? min(p.checkpoint_every, p.T)
                                                             : max(1, kSegmentTokens / max(p.B, 1));
    segment_steps = min(segment_steps, max(p.T, 1));
    segments = ceil_div(p.T, segment_steps);
    segment_rows = segment_steps * p.B;
    const bool weights = p.direction[0].d_w_ih != nullptr;
    const int64_t pairs = round_up(segment_rows, 2);
    for (int d = 0; d < p.D; d++) {
      const Direction& w = p.direction[d];
      if (recompute) forward[d].layout(s, p, d, plan.threads, thread);
      Product& k = product[d];
      k.hh = s.take<Element>(!packed ? 0 : h_panels * elements<Op>(gate_K) * kColumns);
      k.ih = s.take<Element>(packed && p.d_x.data ? x_panels * elements<Op>(gate_K) * kColumns : 0);
      k.hr = s.take<Element>(projected ? unit_panels * elements<Op>(p.P) * kColumns : 0);
      k.d_bias = s.take<A>(Cell::kSlots * unit_stride);
      constexpr bool own = kSame<S, A>;
      A* ih = s.take<A>(weights && !own ? Cell::kGates * p.H * p.I : 0);
      A* hh = s.take<A>(weights && !own ? Cell::kGates * p.H * p.P : 0);
      A* hr = s.take<A>(weights && !own && projected ? p.P * p.H : 0);
      k.d_w_ih = own ? (A*)w.d_w_ih : ih;
      k.d_w_hh = own ? (A*)w.d_w_hh : hh;
      k.d_w_hr = own ? (A*)w.d_w_hr : hr;
      Segment& c = segment[d];
      c.d_gates = s.take<Storage>(pairs * gate_stride);
      c.d_projected = s.take<Storage>(projected ? pairs * h_stride : 0);
      c.saved = s.take<A>(recompute ? segment_rows * Cell::kSaved * Hp : 0);
      c.x = s.take<Storage>(recompute ? segment_rows * x_stride : 0);
      c.h = s.take<Storage>(recompute ? segment_rows * h_stride : 0);
      c.t = s.take<int64_t>(segment_rows);
      c.b = s.take<int64_t>(segment_rows);
      c.x_panels = s.take<Element>(weights ? x_panels * elements<Op>(segment_rows) * kColumns : 0);
      c.h_panels = s.take<Element>(weights ? h_panels * elements<Op>(segment_rows) * kColumns : 0);
      c.m_panels =
          s.take<Element>(weights && projected ? unit_panels * elements<Op>(segment_rows) * kColumns : 0);
    }
    for (int i = 0; i < plan.threads; i++) {
      Element* strip_i = s.take<Element>(used_once ? kStrip * kBlockStride : 0);
      Element* left_i = s.take<Element>(weights ? elements<Op>(segment_rows) * kBlock : 0);
      int64_t* step_row_i = s.take<int64_t>(segment_steps + 1);
      State* states_i = s.take<State>(plan.slices);
      if (i == thread) strip = strip_i, left = left_i, step_row = step_row_i, states = states_i;
    }
    d_x = s.take<A>(in_place && p.d_x.data ? p.N * x_stride : 0);
    for (int i = 0; i < plan.slices; i++) {
      int64_t rows = plan.slice[i].rows;
      State state;
      state.d_h = s.take<A>(rows * h_stride);
      state.d_carry = s.take<A>(Cell::kCarry == Carry::cell ? rows * unit_stride : 0);
      state.d_m = s.take<A>(projected ? rows * unit_stride : 0);
      state.carry = s.take<A>(recompute ? rows * unit_stride : 0);
      if (base) states[i] = state;
    }
    return s.used;
  }

  // The product with W_hh or W_ih [kGates * H, n], rows reordered to the gradients' slots, of d_gates: calls
  // block(panel, k, count, elements [k, k + count) of that panel), of `panels` in turn, for all k.
  template <class Block>
  void for_hh_blocks(const Problem& p, int d, Range panels, Block block) const {
    for_blocks(p, product[d].hh, p.direction[d].w_hh, Cell::hidden_grad_gate, p.P, panels, block);
  }
  template <class Block>
  void for_ih_blocks(const Problem& p, int d, Range panels, Block block) const {
    for_blocks(p, product[d].ih, p.direction[d].w_ih, Cell::input_grad_gate, p.I, panels, block);
  }

  // to [rows][n] += d_gates W, W read for each few rows, from the first of the slots that take part; those
  // columns alone.
  void add_product_in_place(const Problem& p, int64_t rows, const Storage* d_gates, const void* weight,
                            int (*gate)(int), int64_t n, Range columns, A* to, int64_t to_row) const {
    for (int g = 0; g < Cell::kGates; g++)
      for (int64_t r = 0; r < rows; r += kFewRows)
        add_product_of_few<Op, S>(min(kFewRows, rows - r), p.H, d_gates + r * gate_stride + g * unit_stride,
                                  gate_stride, (const S*)weight + gate(g) * p.H * n + columns.begin, n,
                                  columns.end - columns.begin, to + r * to_row + columns.begin, to_row);
  }

  void pack_weights(const Problem& p, int d, int threads, int thread) {
    const Direction& w = p.direction[d];
    auto pack = [&](Element* panels, int64_t count, const void* weight, int (*gate)(int), int64_t n) {
      const int64_t K = elements<Op>(gate_K);
      Range mine = partition(panels ? count : 0, threads, thread);
      for (int64_t i = mine.begin; i < mine.end; i += kPackedTogether)
        pack_strip(p, weight, gate, n, {i, min(i + kPackedTogether, mine.end)}, 0, K,
                   panels + i * K * kColumns, K * kColumns);
    };
    pack(product[d].hh, h_panels, w.w_hh, Cell::hidden_grad_gate, p.P);
    pack(product[d].ih, x_panels, w.w_ih, Cell::input_grad_gate, p.I);
    Range mine = partition(projected ? unit_panels : 0, threads, thread);
    for (int64_t i = mine.begin; i < mine.end; i++)
      pack_from_rows<Op, kVectors, S>(product[d].hr + i * elements<Op>(p.P) * kColumns, p.P,
                                      p.H - i * kColumns,
                                      [&](int64_t k) { return (const S*)w.w_hr + k * p.H + i * kColumns; });
    if (recompute) {
      mine = partition(Forward::panels(p), threads, thread);
      for (int64_t i = mine.begin; i < mine.end; i++) forward[d].pack(p, w, i);
    }
    mine = partition(Cell::kSlots * unit_stride, threads, thread);
    for (int64_t i = mine.begin; i < mine.end; i++) product[d].d_bias[i] = 0;
  }

 private:
  template <class Block>
  void for_blocks(const Problem& p, const Element* packed, const void* weight, int (*gate)(int), int64_t n,
                  Range panels, Block block) const {
    const int64_t K = elements<Op>(gate_K);
    if (!used_once) {
      for (int64_t i = panels.begin; i < panels.end; i++)
        for (int64_t k = 0; k < K; k += kBlockK)
          block(i, k, min(kBlockK, K - k), packed + (i * K + k) * kColumns);
      return;
    }
    for (int64_t first = panels.begin; first < panels.end; first += kStrip)
      for (int64_t k = 0; k < K; k += kBlockK) {
        const Range range = {first, min(first + kStrip, panels.end)};
        const int64_t count = min(kBlockK, K - k);
        pack_strip(p, weight, gate, n, range, k, count, strip, kBlockStride);
        for (int64_t i = first; i < range.end; i++) block(i, k, count, strip + (i - first) * kBlockStride);
      }
  }

  // Elements [k, k + count) of some panels of weights [kGates * H, n].
  void pack_strip(const Problem& p, const void* weight, int (*gate)(int), int64_t n, Range panels, int64_t k,
                  int64_t count, Element* to, int64_t stride) const {
    const int64_t first = k * Op::kPerElement, numbers = min(count * Op::kPerElement, gate_K - first);
    int slot = int(first / unit_stride);
    int64_t unit = first % unit_stride;
    pack_from_rows<Op, kVectors, S>(
        to, stride, panels.end - panels.begin, numbers, n - panels.begin * kColumns,
        [&](int64_t) -> const S* {
          if (unit == unit_stride) slot++, unit = 0;
          const int64_t row = gate(slot) * p.H + unit++;
          return unit <= p.H ? (const S*)weight + row * n + panels.begin * kColumns : nullptr;
        });
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
