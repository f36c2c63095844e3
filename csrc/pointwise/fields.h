// pointwise::DropoutProblem as Python hands it over.
#pragma once
#include <iterator>

#include "common/fields.h"
#include "pointwise/problem.h"

namespace pyrnn::pointwise {

#define F(member) PYRNN_FIELD(DropoutProblem, member)
inline const Field<DropoutProblem> kDropout[] = {F(dtype), F(activation), F(count), F(seed),
                                                 F(p),     F(x),          F(other), F(out)};
#undef F
static_assert(sizeof(DropoutProblem) == 8 * std::size(kDropout), "every field has its name");

inline DropoutProblem problem_of(const pybind11::tuple& values) {
  DropoutProblem p{};
  fill(p, kDropout, values);
  return p;
}

}  // namespace pyrnn::pointwise
