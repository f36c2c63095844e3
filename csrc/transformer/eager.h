// Transformer layers on a few tokens from Python's modules and tensors, for pyrnn/nn/_few_tokens.py.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::transformer {

void bind_eager(pybind11::module_& m);

}  // namespace pyrnn::transformer
