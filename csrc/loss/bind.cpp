#include "loss/bind.h"

#include <iterator>

#include "common/fields.h"
#include "loss/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::loss {
namespace {

#define F(member) PYRNN_FIELD(Problem, member)
const Field<Problem> kProblem[] = {F(dtype),  F(rows),    F(V),       F(gradient), F(smoothing),
                                   F(logits), F(targets), F(weights), F(losses),   F(total)};
#undef F
static_assert(sizeof(Problem) == 8 * std::size(kProblem), "every field has its name");

void run(const py::tuple& problem, int threads) {
  Problem p{};
  fill(p, kProblem, problem);
  py::gil_scoped_release release;
  cross_entropy(p, threads);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["loss.Problem"] = names_of(kProblem);
  m.def("cross_entropy", &run);
}

}  // namespace pyrnn::loss
