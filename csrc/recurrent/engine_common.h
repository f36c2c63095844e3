// What the forward and the backward engine share: token addresses, packed weights of the forward products.
#pragma once
#include "../common/pack.h"
#include "cells/cell.h"
#include "problem.h"
// after problem.h: the barrier works on its flags
#include "../common/barrier.h"

namespace pyrnn {
namespace {

// ---- where a token's row lies
// ------------------------------------------------------------------------------------
template <class S>
inline S* row_of(const Problem& p, const Sequence& s, int64_t t, int64_t b) {
  return (S*)s.data + (p.step_offset ? (p.step_offset[t] + b) * s.b : t * s.t + b * s.b);
}
inline int64_t token_of(const Problem& p, int64_t t, int64_t b) {
  return p.step_offset ? p.step_offset[t] + b : t * p.B + b;
}

// The output of the step before (t, b) in the direction's own order of time: h_prev, or null for a zero h0.
template <class S>
inline const S* previous_hidden(const Problem& p, int d, int64_t t, int64_t b, int64_t length) {
  int64_t before = d == 0 ? t - 1 : t + 1;
  if (before >= 0 && before < length) return row_of<S>(p, p.y, before, b) + d * p.P;
  const S* h0 = (const S*)p.direction[d].h0;
  return h0 ? h0 + b * p.P : nullptr;
}

// ---- tiles of rows: as even as they go, none above the register limit
// ---------------------------------------------
template <int NV, class F>
inline void for_row_tiles(int64_t rows, F f) {
  int64_t tiles = ceil_div(rows, max_rows(NV));
  for (int64_t i = 0; i < tiles; i++) {
    Range r = {rows * i / tiles, rows * (i + 1) / tiles};
    f(r.begin, int(r.end - r.begin));
  }
}

// ---- the forward products' weights
// --------------------------------------------------------------------------------- Panel p holds kUnits
// units: kGates * kWidth vectors, gate after gate. Gates in scratch: [kSlots][kWidth][lanes].
template <class Cell, class S, class Op>
struct ForwardWeights {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  static constexpr int L = kLanes<A>;
  static constexpr int NV = Cell::kGates * Cell::kWidth;
  static constexpr int kUnits = Cell::kWidth * L;
  static constexpr int kColumns = Cell::kSlots * kUnits;  // of one panel in the gates scratch

  Element* ih;  // [panels][I][NV * L]
  Element* hh;  // [panels][P][NV * L]
  A* bias;      // [panels][kColumns]

  static int64_t panels(const Problem& p) { return ceil_div(p.H, kUnits); }

  void layout(Scratch& s, const Problem& p) {
    ih = s.take<Element>(panels(p) * elements<Op>(p.I) * NV * L);
    hh = s.take<Element>(panels(p) * elements<Op>(p.P) * NV * L);
    bias = s.take<A>(panels(p) * kColumns);
  }
  const Element* ih_panel(const Problem& p, int64_t i) const { return ih + i * elements<Op>(p.I) * NV * L; }
  const Element* hh_panel(const Problem& p, int64_t i) const { return hh + i * elements<Op>(p.P) * NV * L; }

  void pack(const Problem& p, const Direction& w, int64_t panel) {
    auto column = [&](const void* weight, const int* gates, int64_t k) {
      return [=, &p](int c) -> const S* {
        int64_t unit = panel * kUnits + c % kUnits;
        return unit < p.H ? (const S*)weight + (gates[c / kUnits] * p.H + unit) * k : nullptr;
      };
    };
    pack_from_columns<Op, NV, S>(ih + panel * elements<Op>(p.I) * NV * L, p.I,
                                 column(w.w_ih, Cell::kInputGate, p.I));
    pack_from_columns<Op, NV, S>(hh + panel * elements<Op>(p.P) * NV * L, p.P,
                                 column(w.w_hh, Cell::kHiddenGate, p.P));
    A* row = bias + panel * kColumns;
    for (int i = 0; i < kColumns; i++) row[i] = 0;
    add_bias(p, row, (const S*)w.b_ih, Cell::kInputGate, Cell::kInputSlot, panel);
    add_bias(p, row, (const S*)w.b_hh, Cell::kHiddenGate, Cell::kHiddenSlot, panel);
  }

 private:
  static void add_bias(const Problem& p, A* row, const S* bias, const int* gates, int slot, int64_t panel) {
    if (!bias) return;
    for (int g = 0; g < Cell::kGates; g++)
      for (int u = 0; u < kUnits && panel * kUnits + u < p.H; u++)
        row[(slot + g) * kUnits + u] += load_n<A>(bias + gates[g] * p.H + panel * kUnits + u, 1)[0];
  }
};

}  // namespace
}  // namespace pyrnn
