#include "optimizer/bind.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "common/tensor.h"
#include "optimizer/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::optimizer {
namespace {

// lr, beta1, beta2, eps, weight decay, whether to maximise; of each of its parameters [parameter, gradient,
// first moment, second moment, count of steps].
using Group = std::tuple<double, double, double, double, double, bool, std::vector<py::tuple>>;

// A count of steps, a scalar as torch's optimizer has it.
double steps_of(const TensorView& view) {
  return view.dtype == kFloat32 ? double(*(const float*)view.data) : *(const double*)view.data;
}
void set_steps(const TensorView& view, double steps) {
  view.dtype == kFloat32 ? void(*(float*)view.data = float(steps)) : void(*(double*)view.data = steps);
}

// The step of `groups`: the norm of their gradients, or why this is none for it. Without a norm to clip by,
// `clip` is negative, nobody asks for the norm, and it is 0. Where `skip` is set, or there is a norm and it
// is not finite, nothing is changed.
py::object step(const std::vector<Group>& groups, double clip, double grad_scale, bool skip, int threads) {
  if (!unwatched()) return declined(kWatched);
  Tensors tensors;
  std::vector<Settings> settings;
  settings.reserve(groups.size());  // parameters point into it
  std::vector<Parameter> parameters;
  std::vector<TensorView> counts;
  for (const auto& [lr, beta1, beta2, eps, decay, maximize, members] : groups) {
    settings.push_back({lr, beta1, beta2, eps, decay, maximize});
    for (const py::tuple& member : members) {
      TensorView views[5];
      if (member.size() != std::size(views)) throw py::value_error("pyrnn: a parameter is five tensors");
      for (size_t i = 0; i < std::size(views); i++) {
        const bool is_grad = i == 1;  // which may be copied: it is only read
        PyObject* tensor = member[i].ptr();
        if (!(is_grad ? tensors.view_contiguous(tensor, views[i]) : tensors.view(tensor, views[i])))
          return declined(kNotPlain);
      }
      const TensorView &value = views[0], &count = views[4];
      if (value.dtype < 0) return declined("a parameter has a dtype without a kernel on the CPU");
      if (count.dims || (count.dtype != kFloat32 && count.dtype != kFloat64))
        return declined("the count of steps is no floating-point scalar on the CPU");
      int64_t numbers = 1;
      for (int d = 0; d < value.dims; d++) numbers *= value.shape[d];
      for (int i = 0; i < 4; i++) {
        if (views[i].dtype != value.dtype || !views[i].has_shape(value.shape, value.dims))
          return declined("gradient or moments have another dtype or shape than their parameter");
        if (!views[i].contiguous()) return declined("a parameter or its moments are not contiguous");
      }
      parameters.push_back({value.dtype, numbers, value.data, views[1].data, views[2].data, views[3].data,
                            steps_of(count) + 1, &settings.back()});
      counts.push_back(count);
    }
  }
  if (threads == kAsked) return py::none();
  double norm = 0;
  {
    py::gil_scoped_release release;
    if (clip >= 0) {
      norm = norm_of(parameters, grad_scale, threads);
      skip = skip || !std::isfinite(float(norm));  // as it is told
    }
    if (!skip) {
      const double factor = clip >= 0 ? std::min(1.0, clip / (norm + 1e-6)) : 1.0;
      adamw(parameters, factor / grad_scale, threads);
      for (size_t i = 0; i < counts.size(); i++) set_steps(counts[i], parameters[i].step);
    }
  }
  return py::float_(norm);
}

}  // namespace

void bind(py::module_& m) { m.def("adamw", &step); }

}  // namespace pyrnn::optimizer
