// A linear layer without derivatives from Python's tensors, for pyrnn/ops/linear.py.
#pragma once
#include <pybind11/pybind11.h>
#include <stdint.h>

namespace pyrnn::rows {

// Rows of a call without derivatives, by dtype and the instruction set in use. AMD's processors are the ones
// on which the kernel was found faster, in products timed by hand, for more than a few: torch's library for
// float32, MKL, is slow there, and bfloat16 is slow without its dot products; with them up to some hundred
// rows.
int64_t most_rows(int dtype);
constexpr const char* kManyRows = "more rows than a small call has";

void bind_eager(pybind11::module_& m);

}  // namespace pyrnn::rows
