// What the forward and the backward engine share: token addresses.
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

// The output of the step before (t, b) in the direction's own order of time: h_prev, or null for a zero h0.
template <class S>
inline const S* previous_hidden(const Problem& p, int d, int64_t t, int64_t b, int64_t length) {
  int64_t before = d == 0 ? t - 1 : t + 1;
  if (before >= 0 && before < length) return row_of<S>(p, p.y, before, b) + d * p.P;
  const S* h0 = (const S*)p.direction[d].h0;
  return h0 ? h0 + b * p.P : nullptr;
}

}  // namespace
}  // namespace pyrnn::recurrent
