// The loss in the Python module.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::loss {

void bind(pybind11::module_& m, pybind11::dict& fields);

}  // namespace pyrnn::loss
