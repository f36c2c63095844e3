// attention::Problem as Python hands it over: what calls with one layout have in common, and what each has of
// its own.
#pragma once
#include "attention/problem.h"
#include "common/fields.h"

namespace pyrnn {

template <>
inline void assign(attention::Heads& field, PyObject* value) {
  static const Field<attention::Heads> kHeads[] = {
      PYRNN_FIELD(attention::Heads, data), PYRNN_FIELD(attention::Heads, batch),
      PYRNN_FIELD(attention::Heads, head), PYRNN_FIELD(attention::Heads, row)};
  fill(field, kHeads, value);
}
template <>
inline void assign(attention::Scores& field, PyObject* value) {
  static const Field<attention::Scores> kScores[] = {
      PYRNN_FIELD(attention::Scores, data), PYRNN_FIELD(attention::Scores, batch),
      PYRNN_FIELD(attention::Scores, head), PYRNN_FIELD(attention::Scores, query),
      PYRNN_FIELD(attention::Scores, key)};
  fill(field, kScores, value);
}

namespace attention {

#define F(member) PYRNN_FIELD(Problem, member)
inline const Field<Problem> kSizes[] = {F(dtype),
                                        F(B),
                                        F(H),
                                        F(K),
                                        F(T),
                                        F(S),
                                        F(D),
                                        F(V),
                                        F(causal),
                                        F(window_left),
                                        F(window_right),
                                        F(query_start),
                                        F(mask_kind),
                                        F(weights_kind),
                                        F(scale),
                                        F(softcap),
                                        F(dropout),
                                        F(slope_batch),
                                        F(slope_head)};
inline const Field<Problem> kTensors[] = {
    F(seed),       F(q),       F(k),     F(v),         F(out), F(mask), F(lengths), F(padding), F(slopes),
    F(statistics), F(weights), F(g_out), F(g_weights), F(d_q), F(d_k),  F(d_v),     F(d_mask)};
#undef F

inline Problem problem_of(const pybind11::tuple& sizes, const pybind11::tuple& tensors) {
  Problem p{};
  fill(p, kSizes, sizes);
  fill(p, kTensors, tensors);
  return p;
}

}  // namespace attention
}  // namespace pyrnn
