#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::embedding {

void bind(pybind11::module_& m, pybind11::dict& fields);

}  // namespace pyrnn::embedding
