#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::embedding {

void bind(pybind11::module_& m, pybind11::dict& fields);
void bind_glove(pybind11::module_& m, pybind11::dict& fields);  // and counts of pairs

}  // namespace pyrnn::embedding
