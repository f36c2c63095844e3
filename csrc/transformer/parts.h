// Modules inside Transformer layers, read once a call and then run on rows of numbers without Python.
#pragma once
#include <pybind11/pybind11.h>
#include <stddef.h>
#include <stdint.h>

#include <initializer_list>
#include <memory>

#include "attention/self_attention.h"
#include "common/tensor.h"

namespace pyrnn::transformer {

// Memory between the products of a call, of the calling thread.
char* memory(size_t bytes);

constexpr Refusal kOtherParameters = "a parameter is computed, or no plain tensor of the tokens' dtype";

struct Parameters {
  const char *weight, *bias;
};

// The parameters of a module, of a dtype and a shape; `bias` may be missing. False where they are anything
// else.
bool read_parameters(PyObject* module, PyObject* weight_name, PyObject* bias_name, int dtype,
                     std::initializer_list<int64_t> shape, Tensors& tensors, Parameters& to);

// Rows without gaps in the order of some tokens, with other features.
struct Rows {
  int64_t shape[3], strides[3];
  TensorView view;

  Rows(const TensorView& like, int64_t features);
  Rows(const Rows&) = delete;  // the view points into it
};

// A MultiheadAttention: out_proj(attention(in_proj(x))).
class AttentionPart {
 public:
  // `options` as SelfAttention::read takes them; `tokens`: [T, B, E], [B, T, E] or [T, E].
  Refusal read(PyObject* module, const pybind11::tuple& options, const TensorView& tokens, Tensors& tensors);
  // The tokens see those of a cache, too: (keys, values, begin, end) behind `first` others.
  Refusal read_cache(const pybind11::tuple& room, size_t first);
  size_t bytes() const;
  // From and to rows without gaps; `residual`, if given, is added to the output.
  void run(const char* input, const char* residual, char* output, char* memory, int threads);

 private:
  int dtype;
  int64_t rows, E;
  bool cached = false;
  Parameters in_proj, out_proj;
  std::unique_ptr<Rows> packed, attended;
  attention::SelfAttention attention;
};

// A MultiheadAttention to keys and values that are known: out_proj(attention(its part of in_proj(x))).
class MemoryAttentionPart {
 public:
  // `heads` and `batch_first` of the module; keys and values [B, H, S, D], padding bool [B, 1, S, 1] or None.
  Refusal read(PyObject* module, int64_t heads, bool batch_first, const TensorView& tokens,
               const pybind11::tuple& memory, Tensors& tensors);
  size_t bytes() const;
  // Output = residual + what the attention gives, from and to rows without gaps; both may be the same.
  void run(const char* input, const char* residual, char* output, char* memory, int threads);

 private:
  int64_t rows, E;
  Parameters in_proj, out_proj;
  attention::Problem problem{};
};

}  // namespace pyrnn::transformer
