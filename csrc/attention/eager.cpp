// Self-attention on what one projection made of a sequence, as one call of C++: no views of heads, no
// merging.
//
//   packed [T, B, 3 * E] or [B, T, 3 * E], or without B: queries, keys and values side by side, head after
//   head output the same with E
//
// As in csrc/recurrent/eager.cpp, whatever is not in perfect order is declined with None.
#include "attention/eager.h"

#include "attention/cpu/engine.h"
#include "attention/problem.h"
#include "common/tensor.h"

namespace py = pybind11;

namespace pyrnn::attention {
namespace {

class Call {
 public:
  // `options`: (heads, batch_first, causal, window_left, window_right, scale).
  bool read(const py::tuple& options, PyObject* tensor);
  // Output, in training with the statistics that `gradient` takes.
  py::object run(bool trains, int threads);
  // Of `packed`, from that of the output.
  py::object gradient(PyObject* grad, PyObject* output, PyObject* statistics, int threads);
  // Output of new tokens behind `begin` to `end` of a cache [B, H, capacity, D], to which theirs are added.
  py::object run_cached(PyObject* keys, PyObject* values, int64_t begin, int64_t end, int threads);

 private:
  bool has_rows_like_input(const TensorView& view, int64_t features) const;
  Heads heads(const TensorView& view, int64_t part) const;  // part 0 to 2 of `packed`, or 0 of the output
  py::object make_output(TensorView& to) const;

  Problem p{};
  Tensors tensors;
  TensorView packed;
  int64_t E;
  bool batch_first, batched;
};

bool Call::read(const py::tuple& options, PyObject* tensor) {
  if (options.size() != 6 || !tensors.view_rows(tensor, packed) || packed.dtype < 0) return false;
  p.dtype = packed.dtype;
  p.H = p.K = options[0].cast<int64_t>();
  batch_first = options[1].cast<bool>();
  p.causal = options[2].cast<bool>();
  p.window_left = options[3].cast<int64_t>();
  p.window_right = options[4].cast<int64_t>();
  p.scale = options[5].cast<double>();
  batched = packed.dims == 3;
  if (!batched && packed.dims != 2) return false;
  const int64_t width = packed.size(-1);
  if (p.H < 1 || width < 1 || width % (3 * p.H)) return false;
  E = width / 3;
  p.D = p.V = E / p.H;
  p.B = batched ? packed.size(batch_first ? 0 : 1) : 1;
  p.T = p.S = packed.size(batched && batch_first ? 1 : 0);
  if (p.B < 1 || p.T < 1 || p.B > kLargeCallBytes || p.T > kLargeCallBytes || width > kLargeCallBytes)
    return false;
  if (p.B * p.T > kLargeCallBytes || p.B * p.T * width * 8 > kLargeCallBytes) return false;
  p.q = heads(packed, 0), p.k = heads(packed, 1), p.v = heads(packed, 2);
  return true;
}

bool Call::has_rows_like_input(const TensorView& view, int64_t features) const {
  if (view.dtype != int(p.dtype) || view.dims != packed.dims || view.size(-1) != features) return false;
  for (int i = 0; i + 1 < view.dims; i++)
    if (view.shape[i] != packed.shape[i]) return false;
  return true;
}

Heads Call::heads(const TensorView& view, int64_t part) const {
  char* data = view.data + part * E * number_bytes(int(p.dtype));
  if (!batched) return {data, 0, p.D, view.stride(0)};
  return batch_first ? Heads{data, view.stride(0), p.D, view.stride(1)}
                     : Heads{data, view.stride(1), p.D, view.stride(0)};
}

py::object Call::make_output(TensorView& to) const {
  int64_t shape[3];
  for (int i = 0; i < packed.dims; i++) shape[i] = packed.shape[i];
  shape[packed.dims - 1] = E;
  return empty(shape, packed.dims, int(p.dtype), to);
}

py::object Call::run(bool trains, int threads) {
  TensorView out, statistics;
  const py::object output = make_output(out);
  py::object kept;
  if (trains) {
    const int64_t shape[] = {p.B, p.H, 2, p.T};
    kept = empty(shape, 4, p.dtype == kFloat64 ? kFloat64 : kFloat32, statistics);
    p.statistics = statistics.data;
  }
  p.out = heads(out, 0);
  {
    py::gil_scoped_release release;
    forward(p, threads);
  }
  return trains ? py::make_tuple(output, kept) : output;
}

py::object Call::gradient(PyObject* grad, PyObject* output, PyObject* statistics, int threads) {
  TensorView g_out, out, kept, d_packed;
  if (!tensors.view_rows(grad, g_out) || !has_rows_like_input(g_out, E)) return py::none();
  if (!tensors.view_rows(output, out) || !has_rows_like_input(out, E)) return py::none();
  if (!tensors.view_contiguous(statistics, kept) || !kept.has_shape({p.B, p.H, 2, p.T})) return py::none();
  if (kept.dtype != (p.dtype == kFloat64 ? kFloat64 : kFloat32)) return py::none();
  const py::object result = empty(packed.shape, packed.dims, int(p.dtype), d_packed);
  p.g_out = heads(g_out, 0), p.out = heads(out, 0);
  p.d_q = heads(d_packed, 0), p.d_k = heads(d_packed, 1), p.d_v = heads(d_packed, 2);
  p.statistics = kept.data;
  {
    py::gil_scoped_release release;
    backward(p, threads);
  }
  return result;
}

py::object Call::run_cached(PyObject* keys, PyObject* values, int64_t begin, int64_t end, int threads) {
  TensorView cache[2], out;
  PyObject* given[] = {keys, values};
  const int64_t T = p.T;
  if (begin < 0 || end < begin || end > (int64_t(1) << 40)) return py::none();
  for (int i = 0; i < 2; i++) {
    TensorView& view = cache[i];
    if (!tensors.view(given[i], view) || view.dtype != int(p.dtype) || view.dims != 4 || !view.contiguous())
      return py::none();
    if (view.size(0) != p.B || view.size(1) != p.H || view.size(2) < end + T || view.size(3) != p.D)
      return py::none();
  }
  const py::object output = make_output(out);
  const Heads fresh[] = {p.k, p.v};
  Heads kept[2];
  for (int i = 0; i < 2; i++) {
    const int64_t capacity = cache[i].size(2);
    kept[i] = {cache[i].data + begin * p.D * number_bytes(int(p.dtype)), p.H * capacity * p.D, capacity * p.D,
               p.D};
  }
  p.S = end + T - begin;
  p.query_start = end - begin;
  p.causal = 1;
  p.k = kept[0], p.v = kept[1];
  p.out = heads(out, 0);
  {
    py::gil_scoped_release release;
    for (int i = 0; i < 2; i++)
      for (int64_t b = 0; b < p.B; b++)
        for (int64_t h = 0; h < p.H; h++)
          for (int64_t t = 0; t < T; t++)
            __builtin_memcpy(
                static_cast<char*>(kept[i].data) +
                    (b * kept[i].batch + h * kept[i].head + (p.query_start + t) * p.D) *
                        number_bytes(int(p.dtype)),
                static_cast<char*>(fresh[i].data) +
                    (b * fresh[i].batch + h * fresh[i].head + t * fresh[i].row) * number_bytes(int(p.dtype)),
                size_t(p.D * number_bytes(int(p.dtype))));
    forward(p, threads);
  }
  return output;
}

// `record(options, packed)` is called where autograd records.
py::object call(const py::object& record, const py::tuple& options, int threads, const py::object& packed) {
  Call found;
  if (!unwatched() || !found.read(options, packed.ptr())) return py::none();
  if (grad_enabled() && requires_grad(packed.ptr())) return record(options, packed);
  return found.run(false, threads);
}

py::object train(const py::tuple& options, int threads, const py::object& packed) {
  Call found;
  return found.read(options, packed.ptr()) ? found.run(true, threads) : py::none();
}

py::object gradient(const py::tuple& options, int threads, const py::object& packed, const py::object& output,
                    const py::object& statistics, const py::object& grad) {
  Call found;
  if (!unwatched() || grad_enabled() || !found.read(options, packed.ptr())) return py::none();
  return found.gradient(grad.ptr(), output.ptr(), statistics.ptr(), threads);
}

py::object cached(const py::tuple& options, int threads, const py::object& packed, const py::object& keys,
                  const py::object& values, int64_t begin, int64_t end) {
  Call found;
  if (!unwatched() || grad_enabled() || !found.read(options, packed.ptr())) return py::none();
  return found.run_cached(keys.ptr(), values.ptr(), begin, end, threads);
}

}  // namespace

void bind_eager(py::module_& m) {
  m.def("attention_call", &call);
  m.def("attention_train", &train);
  m.def("attention_gradient", &gradient);
  m.def("attention_cached", &cached);
}

}  // namespace pyrnn::attention
