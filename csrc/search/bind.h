// The search for Python: pyrnn/search/native.py.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::search {

void bind(pybind11::module_& m);

}  // namespace pyrnn::search
