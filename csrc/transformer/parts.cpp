#include "transformer/parts.h"

#include "attention/cpu/engine.h"
#include "common/integers.h"
#include "common/plain_module.h"
#include "rows/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::transformer {
namespace {

struct Names {
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

}  // namespace

char* memory(size_t bytes) {
  thread_local std::unique_ptr<char[]> block;
  thread_local size_t size = 0;
  if (bytes > size) {
    block.reset(new char[bytes]);
    size = bytes;
  }
  return block.get();
}

Rows::Rows(const TensorView& like, int64_t features) {
  view = {nullptr, like.dtype, like.dims, shape, strides};
  int64_t stride = 1;
  for (int i = like.dims - 1; i >= 0; i--) {
    shape[i] = i == like.dims - 1 ? features : like.shape[i];
    strides[i] = stride;
    stride *= shape[i];
  }
}

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

Refusal AttentionPart::read(PyObject* module, const py::tuple& options, const TensorView& tokens,
                            Tensors& tensors) {
  const Names& n = names();
  dtype = tokens.dtype;
  E = tokens.size(-1);
  rows = tokens.size(0) * (tokens.dims == 3 ? tokens.size(1) : 1);
  if (!read_parameters(module, n.in_proj_weight, n.in_proj_bias, dtype, {3 * E, E}, tensors, in_proj) ||
      !read_parameters(part_of(module, n.out_proj), n.weight, n.bias, dtype, {E, E}, tensors, out_proj))
    return kOtherParameters;
  packed = std::make_unique<Rows>(tokens, 3 * E);
  attended = std::make_unique<Rows>(tokens, E);
  return attention.read(options, packed->view);
}

Refusal AttentionPart::read_cache(const py::tuple& room, size_t first) {
  if (room.size() < first + 4) throw py::value_error("pyrnn: a cache's room is 4 values");
  cached = true;
  return attention.read_cache(py::object(room[first]).ptr(), py::object(room[first + 1]).ptr(),
                              room[first + 2].cast<int64_t>(), room[first + 3].cast<int64_t>());
}

size_t AttentionPart::bytes() const { return size_t(round_up(4 * rows * E * number_bytes(dtype), 64)); }

void AttentionPart::run(const char* input, const char* residual, char* output, char* memory, int threads) {
  packed->view.data = memory;
  attended->view.data = memory + 3 * rows * E * number_bytes(dtype);
  rows::linear(
      dtype,
      {rows, E, 3 * E, pointwise::kIdentity, input, in_proj.weight, in_proj.bias, nullptr, packed->view.data},
      threads);
  if (cached)
    attention.run_cached(packed->view.data, attended->view, threads);
  else
    attention.run(packed->view.data, attended->view, threads);
  rows::linear(dtype,
               {rows, E, E, pointwise::kIdentity, attended->view.data, out_proj.weight, out_proj.bias,
                residual, output},
               threads);
}

Refusal MemoryAttentionPart::read(PyObject* module, int64_t heads, bool batch_first, const TensorView& tokens,
                                  const py::tuple& memory, Tensors& tensors) {
  const Names& n = names();
  const int dtype = tokens.dtype;
  E = tokens.size(-1);
  const bool batched = tokens.dims == 3;
  const int64_t B = batched ? tokens.size(batch_first ? 0 : 1) : 1;
  const int64_t T = tokens.size(batched && batch_first ? 1 : 0);
  rows = B * T;
  if (!read_parameters(module, n.in_proj_weight, n.in_proj_bias, dtype, {3 * E, E}, tensors, in_proj) ||
      !read_parameters(part_of(module, n.out_proj), n.weight, n.bias, dtype, {E, E}, tensors, out_proj))
    return kOtherParameters;
  if (heads < 1 || E % heads) return "the heads do not divide the features";
  attention::Problem& p = problem;
  p.dtype = dtype, p.B = B, p.T = T, p.H = p.K = heads, p.D = p.V = E / heads;
  p.window_left = p.window_right = -1;
  p.scale = 1 / __builtin_sqrt(double(p.D));
  if (memory.size() != 3) throw py::value_error("pyrnn: what is kept of a memory is 3 values");
  const Refusal other = "the cache holds another memory";
  TensorView views[3];
  for (size_t i = 0; i < 3; i++) {
    const py::object tensor = memory[i];
    if (i == 2 && tensor.is_none()) continue;
    if (!(i == 2 ? tensors.view_contiguous(tensor.ptr(), views[i])
                 : tensors.view_rows(tensor.ptr(), views[i])))
      return kNotPlain;
    tensors.keep(tensor.ptr());
  }
  const TensorView &keys = views[0], &values = views[1], &padding = views[2];
  if (keys.dims != 4) return other;
  p.S = keys.size(2);
  if (p.S < 1 || p.S > kLargeCallBytes) return other;
  for (const TensorView* view : {&keys, &values})
    if (view->dtype != dtype || !view->has_shape({B, heads, p.S, p.D})) return other;
  if (padding.data && (padding.dtype != kBytes || !padding.has_shape({B, 1, p.S, 1}))) return other;
  const auto strided = [](const TensorView& view) {
    return attention::Heads{view.data, view.stride(0), view.stride(1), view.stride(2)};
  };
  p.k = strided(keys), p.v = strided(values);
  p.padding = reinterpret_cast<const uint8_t*>(padding.data);
  // Of queries and outputs, which lie in rows without gaps.
  p.q = p.out =
      batch_first ? attention::Heads{nullptr, T * E, p.D, E} : attention::Heads{nullptr, E, p.D, B * E};
  return nullptr;
}

size_t MemoryAttentionPart::bytes() const {
  return size_t(round_up(2 * rows * E * number_bytes(int(problem.dtype)), 64));
}

void MemoryAttentionPart::run(const char* input, const char* residual, char* output, char* memory,
                              int threads) {
  const int dtype = int(problem.dtype);
  char* attended = memory + rows * E * number_bytes(dtype);
  rows::linear(dtype,
               {rows, E, E, pointwise::kIdentity, input, in_proj.weight, in_proj.bias, nullptr, memory},
               threads);
  problem.q.data = memory, problem.out.data = attended;
  attention::forward(problem, threads);
  rows::linear(dtype,
               {rows, E, E, pointwise::kIdentity, attended, out_proj.weight, out_proj.bias, residual, output},
               threads);
}

}  // namespace pyrnn::transformer
