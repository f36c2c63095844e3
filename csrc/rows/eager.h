// A linear layer on few rows from Python's tensors, for pyrnn/ops/linear.py.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn::rows {

// Weights are read where they lie: with more rows than these, a library that packs them is faster.
constexpr int64_t kMostRows = 1 << 12;
constexpr const char* kManyRows = "more rows than those for which weights are read where they lie";

void bind_eager(pybind11::module_& m);

}  // namespace pyrnn::rows
