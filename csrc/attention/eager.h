// Whole calls of self-attention from Python's tensors, for pyrnn/ops/attention/eager.py.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::attention {

void bind_eager(pybind11::module_& m);

}  // namespace pyrnn::attention
