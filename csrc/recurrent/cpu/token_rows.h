// What the forward and the backward engine share: token addresses, and where a sequence is cut.
#pragma once
#include "common/barrier.h"
#include "common/pack.h"
#include "recurrent/cells/cell.h"
#include "recurrent/problem.h"

namespace pyrnn::recurrent {
namespace {

// ---- where a token's row lies
template <class S>
inline S* row_of(const Problem& p, const Sequence& s, int64_t t, int64_t b) {
  return (S*)s.data + (p.step_offset ? (p.step_offset[t] + b) * s.b : t * s.t + b * s.b);
}
inline int64_t token_of(const Problem& p, int64_t t, int64_t b) {
  return p.step_offset ? p.step_offset[t] + b : t * p.B + b;
}

inline int64_t length_of(const Problem& p, int64_t b) { return p.lengths ? p.lengths[b] : p.T; }

// ---- resets: whether no state passes between step (t, b) and the one before it, or after it, in the
// direction's own order of time. A reset of step 0 cuts off the initial state, which enters there forward.
inline bool is_cut(const Problem& p, int d, int64_t later, int64_t b) {
  return p.reset && later < length_of(p, b) && (later > 0 || d == 0) && p.reset[token_of(p, later, b)];
}
inline bool cut_before(const Problem& p, int d, int64_t t, int64_t b) {
  return is_cut(p, d, d == 0 ? t : t + 1, b);
}
inline bool cut_after(const Problem& p, int d, int64_t t, int64_t b) {
  return is_cut(p, d, d == 0 ? t + 1 : t, b);
}
inline bool drops_initial_state(const Problem& p, int d, int64_t b) {
  return d == 0 && cut_before(p, d, 0, b);
}
// Zeros in columns [begin, end) of a slice's `state` [rows][stride], where it is not to pass between step t
// and the one after it. Apart from the steps' own loops, which then cost nothing where there is no reset.
template <class X>
inline void clear_cut(const Problem& p, const BatchSlice& slice, int64_t t, X* state, int64_t stride,
                      int64_t begin, int64_t end) {
  for (int64_t r = 0; p.reset && r < slice.active[t]; r++)
    if (cut_after(p, slice.direction, t, slice.batch[r]))
      for (int64_t i = begin; i < end; i++) state[r * stride + i] = 0;
}

// The output of the step before (t, b) in the direction's own order of time: h_prev, or null for zeros.
template <class S>
inline const S* previous_hidden(const Problem& p, int d, int64_t t, int64_t b) {
  if (cut_before(p, d, t, b)) return nullptr;
  int64_t before = d == 0 ? t - 1 : t + 1;
  if (before >= 0 && before < length_of(p, b)) return row_of<S>(p, p.y, before, b) + d * p.P;
  const S* h0 = (const S*)p.direction[d].h0;
  return h0 ? h0 + b * p.P : nullptr;
}

}  // namespace
}  // namespace pyrnn::recurrent
