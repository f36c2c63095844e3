// Whole calls of the recurrent operator from Python's tensors, for pyrnn/ops/recurrent/eager.py.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::recurrent {

void bind_eager(pybind11::module_& m);

}  // namespace pyrnn::recurrent
