// The problems of csrc/pointwise/problem.h as Python hands them over.
#pragma once
#include <iterator>

#include "common/fields.h"
#include "pointwise/problem.h"

namespace pyrnn::pointwise {

#define F(member) PYRNN_FIELD(DropoutProblem, member)
inline const Field<DropoutProblem> kDropout[] = {F(dtype), F(activation), F(count), F(seed),
                                                 F(p),     F(x),          F(other), F(out)};
#undef F
#define F(member) PYRNN_FIELD(ResidualNormProblem, member)
inline const Field<ResidualNormProblem> kResidualNorm[] = {
    F(dtype),    F(rows),   F(features),   F(slices),  F(seed),     F(p),     F(eps),  F(x),
    F(residual), F(weight), F(bias),       F(out),     F(summed),   F(mean),  F(rstd), F(g),
    F(g_summed), F(d_x),    F(d_residual), F(partial), F(d_weight), F(d_bias)};
#undef F
#define F(member) PYRNN_FIELD(RotaryProblem, member)
inline const Field<RotaryProblem> kRotary[] = {
    F(dtype), F(size0), F(size1),  F(size2),  F(features), F(turned), F(back),  F(x0),
    F(x1),    F(x2),    F(table0), F(table1), F(table2),   F(x),      F(table), F(out)};
#undef F
static_assert(sizeof(DropoutProblem) == 8 * std::size(kDropout), "every field has its name");
static_assert(sizeof(ResidualNormProblem) == 8 * std::size(kResidualNorm), "every field has its name");
static_assert(sizeof(RotaryProblem) == 8 * std::size(kRotary), "every field has its name");

template <class Problem, size_t kCount>
Problem problem_of(const Field<Problem> (&fields)[kCount], const pybind11::tuple& values) {
  Problem p{};
  fill(p, fields, values);
  return p;
}

}  // namespace pyrnn::pointwise
