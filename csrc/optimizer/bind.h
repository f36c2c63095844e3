// Optimizers in the Python module.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::optimizer {

void bind(pybind11::module_& m);

}  // namespace pyrnn::optimizer
