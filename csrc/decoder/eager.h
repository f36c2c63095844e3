// Small calls of the decoder, as one function of the module.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::decoder {

void bind_eager(pybind11::module_& m);

}  // namespace pyrnn::decoder
