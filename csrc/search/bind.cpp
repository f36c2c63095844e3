#include "search/bind.h"

#include <pybind11/stl.h>

#include <cmath>

#include "search/beam.h"
#include "search/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::search {
namespace {

template <class T>
T* at(int64_t address) {
  return reinterpret_cast<T*>(address);
}

// (rows, stays, health), see Next. Addresses of logits [beam.rows][V] and of int64 [beam.most_rows].
py::tuple advance(Beam& beam, int dtype, int64_t raw, int64_t allowed, const std::vector<int64_t>& banned,
                  double norm, int64_t tokens, int64_t from, int threads) {
  Next next;
  {
    py::gil_scoped_release release;
    next = beam.advance({dtype, at<const void>(raw), at<const void>(allowed), banned, norm},
                        at<int64_t>(tokens), at<int64_t>(from), threads);
  }
  return py::make_tuple(next.rows, next.stays, next.health);
}

// Of each source [(score, log-probability, tokens, rows), ...]. rows: of the logits of each step.
py::list found(const Beam& beam) {
  py::list all;
  for (const std::vector<Found>& outputs : beam.found()) {
    py::list of_source;
    for (const Found& output : outputs) {
      const std::vector<const Node*> path = beam.trace(output);
      py::tuple tokens(path.size()), rows(path.size());
      for (size_t t = 0; t < path.size(); t++) tokens[t] = path[t]->token, rows[t] = path[t]->row;
      of_source.append(py::make_tuple(output.score, output.log_probability, tokens, rows));
    }
    all.append(of_source);
  }
  return all;
}

// The likeliest token of each row of logits [rows][V], without those that are banned, into int64 [rows].
// Whether there is one in each row, and no logit is NaN or +inf.
bool likeliest(int dtype, int64_t logits, int64_t rows, int64_t V, const std::vector<int64_t>& banned,
               int64_t tokens, int threads) {
  py::gil_scoped_release release;
  std::vector<double> largest(size_t(rows), 0.0), values(size_t(rows), 0.0);
  choose(dtype,
         {rows, V, 1, int64_t(banned.size()), at<const void>(logits), at<const void>(logits), banned.data(),
          largest.data(), nullptr, values.data(), at<int64_t>(tokens)},
         threads);
  bool sound = true;
  for (int64_t r = 0; r < rows; r++)
    sound = sound && std::isfinite(largest[size_t(r)]) && std::isfinite(values[size_t(r)]);
  return sound;
}

// Of each row of logits [rows][V] the largest and the logarithm of sum_v exp(logit - largest), into two
// arrays of doubles [rows].
void log_partition(int dtype, int64_t logits, int64_t rows, int64_t V, int64_t largest, int64_t log_sum,
                   int threads) {
  py::gil_scoped_release release;
  std::vector<double> values(size_t(rows), 0.0);
  std::vector<int64_t> ids(size_t(rows), 0);
  double* sum = at<double>(log_sum);
  choose(dtype,
         {rows, V, 1, 0, at<const void>(logits), at<const void>(logits), nullptr, at<double>(largest), sum,
          values.data(), ids.data()},
         threads);
  for (int64_t r = 0; r < rows; r++) sum[r] = log_of_sum(sum[r], dtype);
}

}  // namespace

void bind(py::module_& m) {
  m.attr("most_beam_width") = kMostWidth;
  m.def("likeliest_tokens", &likeliest);
  m.def("log_partition", &log_partition);
  py::class_<Beam>(m, "Beam")
      .def(py::init<int64_t, int64_t, int64_t, int64_t, const std::vector<int64_t>&,
                    const std::vector<double>&>())
      .def_property_readonly("rows", &Beam::rows)
      .def_property_readonly("most_rows", &Beam::most_rows)
      .def_property_readonly("searching", &Beam::searching)
      .def("advance", &advance)
      .def("found", &found);
}

}  // namespace pyrnn::search
