// A Transformer encoder's layers on a few tokens of a model that generates, as one call of C++. Each is
//
//   x = input + out_proj(attention(in_proj(norm1(input)), cache))    y = x + linear2(f(linear1(norm2(x))))
//
// or, with the normalisations behind the sums, y = norm2(x + ...), x = norm1(input + ...). The parts are
// asked first whether calling them would do anything else. Each result is rounded to the tensors' dtype, as
// where a tensor is made of it. As in csrc/recurrent/eager.cpp, whatever is not in perfect order is declined
// with None.
#include "transformer/eager.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "attention/self_attention.h"
#include "common/dtype.h"
#include "common/integers.h"
#include "common/plain_module.h"
#include "common/tensor.h"
#include "rows/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::transformer {
namespace {

// Weights are read where they lie: with more rows than these, a library that packs them is faster.
constexpr int64_t kMostRows = 16;

struct Names {
  PyObject* norm1 = PyUnicode_InternFromString("norm1");
  PyObject* norm2 = PyUnicode_InternFromString("norm2");
  PyObject* linear1 = PyUnicode_InternFromString("linear1");
  PyObject* linear2 = PyUnicode_InternFromString("linear2");
  PyObject* dropouts[3] = {PyUnicode_InternFromString("dropout"), PyUnicode_InternFromString("dropout1"),
                           PyUnicode_InternFromString("dropout2")};
  PyObject* attention = PyUnicode_InternFromString("self_attn");
  PyObject* out_proj = PyUnicode_InternFromString("out_proj");
  PyObject* in_proj_weight = PyUnicode_InternFromString("in_proj_weight");
  PyObject* in_proj_bias = PyUnicode_InternFromString("in_proj_bias");
  PyObject* weight = PyUnicode_InternFromString("weight");
  PyObject* bias = PyUnicode_InternFromString("bias");
};
const Names& names() {
  static const Names found;
  return found;
}

// Memory between the products of a layer, of the calling thread.
char* memory(size_t bytes) {
  thread_local std::unique_ptr<char[]> block;
  thread_local size_t size = 0;
  if (bytes > size) {
    block.reset(new char[bytes]);
    size = bytes;
  }
  return block.get();
}

// Rows without gaps in the order of some tokens, with other features.
struct Rows {
  int64_t shape[3], strides[3];
  TensorView view;

  Rows(const TensorView& like, int64_t features) {
    view = {nullptr, like.dtype, like.dims, shape, strides};
    int64_t stride = 1;
    for (int i = like.dims - 1; i >= 0; i--) {
      shape[i] = i == like.dims - 1 ? features : like.shape[i];
      strides[i] = stride;
      stride *= shape[i];
    }
  }
  Rows(const Rows&) = delete;  // the view points into it
};

struct Parameters {
  const char *weight, *bias;
};

// One layer: what it is made of, and the cache of its attention.
class Layer {
 public:
  // `call`: (options, keys, values, begin, end), with the options (those of attention, norm_first, the
  // activation's code, eps of both normalisations).
  bool read(PyObject* layer, const py::tuple& call, const TensorView& tokens, Tensors& tensors);
  size_t bytes() const { return size_t(8 * row() + rows * F * number_bytes(dtype)); }
  // From and to rows without gaps; both may be the same. Needs no lock of Python.
  void run(const char* input, char* output, char* memory, int threads);

 private:
  int64_t row() const { return round_up(rows * E * number_bytes(dtype), 64); }
  bool read_parts(PyObject* layer, Tensors& tensors);

  int dtype, activation;
  int64_t rows, E, F;
  bool norm_first;
  double eps[2];
  Parameters norms[2], in_proj, out_proj, linear1, linear2;
  std::unique_ptr<Rows> packed, attended;
  attention::SelfAttention attention;
};

bool read_parameters(PyObject* module, PyObject* weight_name, PyObject* bias_name, int dtype,
                     std::initializer_list<int64_t> shape, Tensors& tensors, Parameters& to) {
  TensorView weight, bias;
  PyObject *w = parameter_of(module, weight_name), *b = parameter_of(module, bias_name);
  const auto holds = [&](PyObject* tensor, TensorView& view, std::initializer_list<int64_t> expected) {
    return tensors.view_contiguous(tensor, view) && view.dtype == dtype && view.has_shape(expected);
  };
  if (!w || !holds(w, weight, shape) || (b && !holds(b, bias, {*shape.begin()}))) return false;
  tensors.keep(w);  // another thread may give the module others meanwhile
  if (b) tensors.keep(b);
  to = {weight.data, bias.data};
  return true;
}

bool Layer::read(PyObject* layer, const py::tuple& call, const TensorView& tokens, Tensors& tensors) {
  if (call.size() != 5) return false;
  const py::tuple options = call[0];
  if (options.size() != 5) return false;
  dtype = tokens.dtype;
  E = tokens.size(-1);
  rows = tokens.size(0) * (tokens.dims == 3 ? tokens.size(1) : 1);
  norm_first = options[1].cast<bool>();
  activation = options[2].cast<int>();
  for (int i = 0; i < 2; i++) eps[i] = options[size_t(3 + i)].cast<double>();
  if (!read_parts(layer, tensors)) return false;
  packed = std::make_unique<Rows>(tokens, 3 * E);
  attended = std::make_unique<Rows>(tokens, E);
  return attention.read(options[0], packed->view) &&
         attention.read_cache(py::object(call[1]).ptr(), py::object(call[2]).ptr(), call[3].cast<int64_t>(),
                              call[4].cast<int64_t>());
}

bool Layer::read_parts(PyObject* layer, Tensors& tensors) {
  const Names& n = names();
  PyObject *norm1 = part_of(layer, n.norm1), *norm2 = part_of(layer, n.norm2);
  PyObject *first = part_of(layer, n.linear1), *second = part_of(layer, n.linear2);
  PyObject* self_attn = part_of(layer, n.attention);
  for (PyObject* name : n.dropouts)
    if (!is_plain_in_evaluation(part_of(layer, name), kDropoutModule)) return false;
  for (PyObject* norm : {norm1, norm2})
    if (!is_plain_in_evaluation(norm, kNormModule)) return false;
  for (PyObject* linear : {first, second})
    if (!is_plain_in_evaluation(linear, kLinearModule)) return false;
  if (!is_plain_in_evaluation(self_attn, kAttentionModule)) return false;
  TensorView hidden;
  PyObject* weight = parameter_of(first, n.weight);
  if (!weight || !tensors.view(weight, hidden) || hidden.dims != 2) return false;
  F = hidden.size(0);
  if (F < 1 || F > kLargeCallBytes) return false;
  const auto read = [&](PyObject* module, PyObject* w, PyObject* b, std::initializer_list<int64_t> shape,
                        Parameters& to) { return read_parameters(module, w, b, dtype, shape, tensors, to); };
  return read(norm1, n.weight, n.bias, {E}, norms[0]) && read(norm2, n.weight, n.bias, {E}, norms[1]) &&
         read(first, n.weight, n.bias, {F, E}, linear1) && read(second, n.weight, n.bias, {E, F}, linear2) &&
         read(self_attn, n.in_proj_weight, n.in_proj_bias, {3 * E, E}, in_proj) &&
         read(part_of(self_attn, n.out_proj), n.weight, n.bias, {E, E}, out_proj);
}

void Layer::run(const char* input, char* output, char* memory, int threads) {
  const auto linear = [&](const char* x, const Parameters& with, const char* residual, char* out, int64_t K,
                          int64_t n, int f = pointwise::kIdentity) {
    rows::linear(dtype, {rows, K, n, f, x, with.weight, with.bias, residual, out}, threads);
  };
  const auto norm = [&](const char* x, int which, char* out) {
    rows::norm(dtype, {rows, E, eps[which], x, norms[which].weight, norms[which].bias, out});
  };
  const int64_t step = row();
  char *normed = memory, *x = memory + step, *sum = memory + 2 * step, *hidden = memory + 8 * step;
  packed->view.data = memory + 3 * step;
  attended->view.data = memory + 6 * step;
  if (norm_first) norm(input, 0, normed);
  linear(norm_first ? normed : input, in_proj, nullptr, packed->view.data, E, 3 * E);
  attention.run_cached(packed->view.data, attended->view, threads);
  linear(attended->view.data, out_proj, input, norm_first ? x : sum, E, E);
  norm_first ? norm(x, 1, normed) : norm(sum, 0, x);
  linear(norm_first ? normed : x, linear1, nullptr, hidden, E, F, activation);
  linear(hidden, linear2, x, norm_first ? output : sum, F, E);
  if (!norm_first) norm(sum, 1, output);
}

// The output of new tokens that go through `modules`, whose keys and values go behind those of caches, and
// through a last normalisation if there is one: (module, eps) or None. None where their parts must be called.
py::object layers(const py::tuple& modules, const py::tuple& calls, const py::object& last,
                  const py::object& tokens, int threads) {
  Tensors tensors;
  TensorView input, out;
  if (!unwatched() || grad_enabled() || !classes_are_plain()) return py::none();
  if (modules.empty() || modules.size() != calls.size()) return py::none();
  if (!tensors.view_contiguous(tokens.ptr(), input) || input.dtype < 0) return py::none();
  if (input.dims != 2 && input.dims != 3) return py::none();
  const int64_t E = input.size(-1), rows = input.size(0) * (input.dims == 3 ? input.size(1) : 1);
  if (rows < 1 || rows > kMostRows || E < 1 || E > kLargeCallBytes) return py::none();
  std::vector<Layer> stack(modules.size());
  size_t bytes = 0;
  for (size_t i = 0; i < stack.size(); i++) {
    if (!stack[i].read(py::object(modules[i]).ptr(), calls[i], input, tensors)) return py::none();
    bytes = std::max(bytes, stack[i].bytes());
  }
  Parameters norm{};
  double eps = 0;
  if (!last.is_none()) {
    const py::tuple given = last;
    PyObject* module = py::object(given[0]).ptr();
    eps = given[1].cast<double>();
    if (!is_plain_in_evaluation(module, kNormModule) ||
        !read_parameters(module, names().weight, names().bias, input.dtype, {E}, tensors, norm))
      return py::none();
  }
  const py::object output = empty(input.shape, input.dims, input.dtype, out);
  {
    py::gil_scoped_release release;
    char* scratch = memory(bytes);
    for (size_t i = 0; i < stack.size(); i++)
      stack[i].run(i ? out.data : input.data, out.data, scratch, threads);
    if (norm.weight) rows::norm(input.dtype, {rows, E, eps, out.data, norm.weight, norm.bias, out.data});
  }
  return output;
}

}  // namespace

void bind_eager(py::module_& m) { m.def("transformer_layers", &layers); }

}  // namespace pyrnn::transformer
