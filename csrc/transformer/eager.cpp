// A Transformer's layers on a few tokens of a model that generates, as one call of C++. Each is
//
//   x = input + out_proj(attention(in_proj(norm1(input)), cache))    y = x + linear2(f(linear1(norm2(x))))
//
// a decoder's with x = x + out_proj(attention(in_proj(norm2(x)), memory)) in between, and norm3 in the
// second; or, with the normalisations behind the sums, y = norm2(x + ...), x = norm1(input + ...). The parts
// are asked first whether calling them would do anything else. Each result is rounded to the tensors' dtype,
// as where a tensor is made of it. As in csrc/recurrent/eager.cpp, whatever is not in perfect order is
// declined in words.
#include "transformer/eager.h"

#include <algorithm>
#include <vector>

#include "common/dtype.h"
#include "common/integers.h"
#include "common/plain_module.h"
#include "common/tensor.h"
#include "rows/cpu/engine.h"
#include "rows/eager.h"
#include "transformer/parts.h"

namespace py = pybind11;

namespace pyrnn::transformer {
namespace {

constexpr Refusal kOtherPart = "a part was replaced or hooked, or is in training mode";

struct Names {
  PyObject* norms[3] = {PyUnicode_InternFromString("norm1"), PyUnicode_InternFromString("norm2"),
                        PyUnicode_InternFromString("norm3")};
  PyObject* linear1 = PyUnicode_InternFromString("linear1");
  PyObject* linear2 = PyUnicode_InternFromString("linear2");
  PyObject* dropouts[4] = {PyUnicode_InternFromString("dropout"), PyUnicode_InternFromString("dropout1"),
                           PyUnicode_InternFromString("dropout2"), PyUnicode_InternFromString("dropout3")};
  PyObject* attention = PyUnicode_InternFromString("self_attn");
  PyObject* memory = PyUnicode_InternFromString("multihead_attn");
  PyObject* weight = PyUnicode_InternFromString("weight");
  PyObject* bias = PyUnicode_InternFromString("bias");
};
const Names& names() {
  static const Names found;
  return found;
}

// One layer: what it is made of, and the cache of its attention.
class Layer {
 public:
  // `call`: (options, keys, values, begin, end), with the options (those of attention, norm_first, the
  // activation's code, eps of the normalisations); of a decoder's layer then what MemoryAttentionPart takes.
  Refusal read(PyObject* layer, const py::tuple& call, const TensorView& tokens, Tensors& tensors);
  size_t bytes() const { return size_t(3 * row() + rows * F * number_bytes(dtype)) + attention_bytes(); }
  // From and to rows without gaps; both may be the same. Needs no lock of Python.
  void run(const char* input, char* output, char* memory, int threads);

 private:
  int64_t row() const { return round_up(rows * E * number_bytes(dtype), 64); }
  size_t attention_bytes() const { return std::max(attention.bytes(), attends ? memory.bytes() : 0); }
  int norm_count() const { return attends ? 3 : 2; }
  Refusal read_parts(PyObject* layer, Tensors& tensors);

  int dtype, activation;
  int64_t rows, E, F;
  bool norm_first, attends;  // to a memory
  double eps[3];
  Parameters norms[3], linear1, linear2;
  AttentionPart attention;
  MemoryAttentionPart memory;
};

Refusal Layer::read(PyObject* layer, const py::tuple& call, const TensorView& tokens, Tensors& tensors) {
  if (call.size() != 5 && call.size() != 6) throw py::value_error("pyrnn: a layer's call is 5 or 6 values");
  attends = call.size() == 6;
  const py::tuple options = call[0];
  if (int(options.size()) != 3 + norm_count()) throw py::value_error("pyrnn: options of another layer");
  dtype = tokens.dtype;
  E = tokens.size(-1);
  rows = tokens.size(0) * (tokens.dims == 3 ? tokens.size(1) : 1);
  norm_first = options[1].cast<bool>();
  activation = options[2].cast<int>();
  for (int i = 0; i < norm_count(); i++) eps[i] = options[size_t(3 + i)].cast<double>();
  if (const Refusal why = read_parts(layer, tensors)) return why;
  const py::tuple own = options[0];
  PyObject* self_attn = part_of(layer, names().attention);
  if (const Refusal why = attention.read(self_attn, own, tokens, tensors)) return why;
  if (const Refusal why = attention.read_cache(call, 1)) return why;
  if (!attends) return nullptr;
  PyObject* other = part_of(layer, names().memory);
  if (!is_plain_in_evaluation(other, kAttentionModule)) return kOtherPart;
  return memory.read(other, own[0].cast<int64_t>(), own[1].cast<bool>(), tokens, call[5], tensors);
}

Refusal Layer::read_parts(PyObject* layer, Tensors& tensors) {
  const Names& n = names();
  PyObject *first = part_of(layer, n.linear1), *second = part_of(layer, n.linear2);
  for (int i = 0; i < norm_count() + 1; i++)
    if (!is_plain_in_evaluation(part_of(layer, n.dropouts[i]), kDropoutModule)) return kOtherPart;
  for (int i = 0; i < norm_count(); i++)
    if (!is_plain_in_evaluation(part_of(layer, n.norms[i]), kNormModule)) return kOtherPart;
  for (PyObject* linear : {first, second})
    if (!is_plain_in_evaluation(linear, kLinearModule)) return kOtherPart;
  if (!is_plain_in_evaluation(part_of(layer, n.attention), kAttentionModule)) return kOtherPart;
  TensorView hidden;
  PyObject* weight = parameter_of(first, n.weight);
  if (!weight || !tensors.view(weight, hidden) || hidden.dims != 2) return kOtherParameters;
  F = hidden.size(0);
  if (F < 1 || F > kLargeCallBytes) return kOtherParameters;
  const auto read = [&](PyObject* module, std::initializer_list<int64_t> shape, Parameters& to) {
    return read_parameters(module, n.weight, n.bias, dtype, shape, tensors, to);
  };
  bool found = read(first, {F, E}, linear1) && read(second, {E, F}, linear2);
  for (int i = 0; i < norm_count(); i++) found = found && read(part_of(layer, n.norms[i]), {E}, norms[i]);
  return found ? nullptr : kOtherParameters;
}

void Layer::run(const char* input, char* output, char* scratch, int threads) {
  const auto linear = [&](const char* from, const Parameters& with, const char* residual, char* to, int64_t K,
                          int64_t n, int f = pointwise::kIdentity) {
    rows::linear(dtype, {rows, K, n, f, from, with.weight, with.bias, residual, to}, threads);
  };
  const auto norm = [&](const char* from, int which, char* to) {
    rows::norm(dtype, {rows, E, eps[which], from, norms[which].weight, norms[which].bias, to});
  };
  char *normed = scratch, *x = scratch + row(), *sum = scratch + 2 * row(), *inner = scratch + 3 * row();
  char* hidden = inner + attention_bytes();
  // Each part adds to what it is given: to `x` from `normed`, or to `sum`, which is normalised to `x`.
  if (norm_first) norm(input, 0, normed);
  attention.run(norm_first ? normed : input, input, norm_first ? x : sum, inner, threads);
  if (!norm_first) norm(sum, 0, x);
  if (attends) {
    if (norm_first) norm(x, 1, normed);
    memory.run(norm_first ? normed : x, x, norm_first ? x : sum, inner, threads);
    if (!norm_first) norm(sum, 1, x);
  }
  const int last = norm_count() - 1;
  if (norm_first) norm(x, last, normed);
  linear(norm_first ? normed : x, linear1, nullptr, hidden, E, F, activation);
  linear(hidden, linear2, x, norm_first ? output : sum, F, E);
  if (!norm_first) norm(sum, last, output);
}

// Whether a call on `tokens` is one for these functions.
Refusal take(const py::object& tokens, TensorView& input, Tensors& tensors) {
  if (grad_enabled()) return kRecords;
  if (!unwatched()) return kWatched;
  if (!tensors.view_contiguous(tokens.ptr(), input)) return kNotPlain;
  if (input.dtype < 0) return "the dtype has no kernel on the CPU";
  if (input.dims != 2 && input.dims != 3) return "the input has another number of dimensions";
  const int64_t E = input.size(-1), rows = input.size(0) * (input.dims == 3 ? input.size(1) : 1);
  if (rows > rows::most_rows(input.dtype)) return rows::kManyRows;
  return rows >= 1 && E >= 1 && E <= kLargeCallBytes ? nullptr : "a size is 0, or out of proportion";
}

// What a MultiheadAttention makes of its tokens: with `room`, (keys, values, begin, end), behind those of a
// cache. Words where its parts must be called. Its own forward and hooks are the caller's to look at.
py::object attention(const py::object& module, const py::tuple& options, const py::object& tokens,
                     const py::object& room, int threads) {
  Tensors tensors;
  TensorView input, out;
  AttentionPart found;
  if (const Refusal why = take(tokens, input, tensors)) return declined(why);
  if (const Refusal why = found.read(module.ptr(), options, input, tensors)) return declined(why);
  if (!room.is_none())
    if (const Refusal why = found.read_cache(room, 0)) return declined(why);
  const py::object output = empty(input.shape, input.dims, input.dtype, out);
  if (threads != kAsked) {
    py::gil_scoped_release release;
    found.run(input.data, nullptr, out.data, memory(found.bytes()), threads);
  }
  return output;
}

// The output of new tokens that go through `modules`, whose keys and values go behind those of caches, and
// through a last normalisation if there is one: (module, eps) or None. Words where their parts must be
// called.
py::object layers(const py::tuple& modules, const py::tuple& calls, const py::object& last,
                  const py::object& tokens, int threads) {
  Tensors tensors;
  TensorView input, out;
  if (!classes_are_plain()) return declined(kOtherPart);
  if (const Refusal why = take(tokens, input, tensors)) return declined(why);
  if (modules.empty() || modules.size() != calls.size()) return declined("there are no layers");
  const int64_t E = input.size(-1), rows = input.size(0) * (input.dims == 3 ? input.size(1) : 1);
  std::vector<Layer> stack(modules.size());
  size_t bytes = 0;
  for (size_t i = 0; i < stack.size(); i++) {
    const py::object module = modules[i];
    if (const Refusal why = stack[i].read(module.ptr(), calls[i], input, tensors)) return declined(why);
    bytes = std::max(bytes, stack[i].bytes());
  }
  Parameters norm{};
  double eps = 0;
  if (!last.is_none()) {
    const py::tuple given = last;
    PyObject* module = py::object(given[0]).ptr();
    eps = given[1].cast<double>();
    if (!is_plain_in_evaluation(module, kNormModule)) return declined(kOtherPart);
    if (!read_parameters(module, names().weight, names().bias, input.dtype, {E}, tensors, norm))
      return declined(kOtherParameters);
  }
  const py::object output = empty(input.shape, input.dims, input.dtype, out);
  if (threads != kAsked) {
    py::gil_scoped_release release;
    char* scratch = memory(bytes);
    for (size_t i = 0; i < stack.size(); i++)
      stack[i].run(i ? out.data : input.data, out.data, scratch, threads);
    if (norm.weight) rows::norm(input.dtype, {rows, E, eps, out.data, norm.weight, norm.bias, out.data});
  }
  return output;
}

}  // namespace

void bind_eager(py::module_& m) {
  m.def("transformer_layers", &layers);
  m.def("multihead_attention", &attention);
}

}  // namespace pyrnn::transformer
