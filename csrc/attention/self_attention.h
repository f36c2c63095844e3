// Self-attention on what one projection made of a sequence, from Python's tensors: no views of heads, no
// merging.
//
//   packed [T, B, 3 * E] or [B, T, 3 * E], or without B: queries, keys and values side by side, head after
//   head output the same with E
//
// As in csrc/recurrent/eager.cpp, whatever is not in perfect order is declined in words.
#pragma once
#include "attention/problem.h"
#include "common/tensor.h"

namespace pyrnn::attention {

class SelfAttention {
 public:
  // `options`: (heads, batch_first, causal, window_left, window_right, scale, ALiBi's slopes [H] or None).
  Refusal read(const pybind11::tuple& options, PyObject* tensor);
  // The same of numbers that are no tensor's, and that may come later: a view that lives as long as the call.
  Refusal read(const pybind11::tuple& options, const TensorView& view);

  // Output, in training with the statistics that `gradient` takes.
  pybind11::object run(bool trains, int threads);
  // Of `packed`, from that of the output.
  pybind11::object gradient(PyObject* grad, PyObject* output, PyObject* statistics, int threads);

  // The same of numbers that a view describes: `packed` as `read` took it, or elsewhere. Needs no lock of
  // Python.
  void run(char* packed_at, const TensorView& output, int threads);

  // The tokens see those at `begin` to `end` of a cache [B, H, capacity, D], and theirs are put behind.
  Refusal read_cache(PyObject* keys, PyObject* values, int64_t begin, int64_t end);
  pybind11::object run_cached(int threads);
  void run_cached(char* packed_at, const TensorView& output, int threads);

 private:
  bool has_rows_like_input(const TensorView& view, int64_t features) const;
  Heads heads(const TensorView& view, int64_t part) const;  // part 0 to 2 of `packed`, or 0 of the output
  pybind11::object make_output(TensorView& to) const;

  Problem p{};
  Tensors tensors;
  TensorView packed;
  int64_t E;
  bool batch_first, batched;
};

}  // namespace pyrnn::attention
