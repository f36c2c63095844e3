#include <system_error>

#include "common/fields.h"
#include "embedding/bind.h"
#include "embedding/cooccurrence.h"
#include "embedding/cpu/glove_engine.h"

namespace py = pybind11;

namespace pyrnn::embedding {
namespace {

#define F(member) PYRNN_FIELD(GloveProblem, member)
const Field<GloveProblem> kGlove[] = {F(V),     F(S),     F(count), F(updates), F(shuffle), F(learning_rate),
                                      F(x_max), F(alpha), F(rows),  F(pairs)};
#undef F

double run_glove(const py::tuple& problem, int threads) {
  GloveProblem p{};
  fill(p, kGlove, problem);
  py::gil_scoped_release release;
  return glove(p, threads);
}

void add(CooccurrenceCounter& counter, int64_t ids, int64_t count) {
  py::gil_scoped_release release;
  counter.add(reinterpret_cast<const int32_t*>(ids), count);
}

void finish(CooccurrenceCounter& counter) {
  py::gil_scoped_release release;
  counter.finish();
}

int64_t take(CooccurrenceCounter& counter, int64_t pairs, int64_t most) {
  py::gil_scoped_release release;
  return counter.take(reinterpret_cast<Pair*>(pairs), most);
}

}  // namespace

void bind_glove(py::module_& m, py::dict& fields) {
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const std::system_error& error) {  // an OSError with its number
      PyErr_SetObject(PyExc_OSError, py::make_tuple(error.code().value(), error.what()).ptr());
    }
  });
  fields["embedding.Glove"] = names_of(kGlove);
  m.def("glove", &run_glove);
  py::class_<CooccurrenceCounter>(m, "CooccurrenceCounter")
      .def(py::init<int64_t, int64_t, bool, bool, int64_t, int>())
      .def("add", &add)
      .def("finish", &finish)
      .def("take", &take)
      .def_property_readonly("tokens", &CooccurrenceCounter::tokens)
      .def_property_readonly("runs", &CooccurrenceCounter::runs);
}

}  // namespace pyrnn::embedding
