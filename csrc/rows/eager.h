// A linear layer without derivatives from Python's tensors, for pyrnn/ops/linear.py.
#pragma once
#include <pybind11/pybind11.h>
#include <stdint.h>

namespace pyrnn::rows {

// Rows of a small call, by the instruction set in use: more on AMD's processors, for which MKL, torch's
// library for float32, is slow; on others it was not compared but for few rows.
int64_t most_rows();
constexpr const char* kManyRows = "more rows than a small call has";

void bind_eager(pybind11::module_& m);

}  // namespace pyrnn::rows
