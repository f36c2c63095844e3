#include "attention/self_attention.h"

#include "attention/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::attention {

Refusal SelfAttention::read(const py::tuple& options, PyObject* tensor) {
  TensorView view;
  return tensors.view_rows(tensor, view) ? read(options, view) : kNotPlain;
}

Refusal SelfAttention::read(const py::tuple& options, const TensorView& view) {
  packed = view;
  if (options.size() != 7) throw py::value_error("pyrnn: options of self-attention are 7");
  if (packed.dtype < 0) return "the dtype has no kernel on the CPU";
  p.dtype = packed.dtype;
  p.H = p.K = options[0].cast<int64_t>();
  batch_first = options[1].cast<bool>();
  p.causal = options[2].cast<bool>();
  p.window_left = options[3].cast<int64_t>();
  p.window_right = options[4].cast<int64_t>();
  p.scale = options[5].cast<double>();
  if (!options[6].is_none()) {
    TensorView slopes;
    if (!tensors.view_contiguous(options[6].ptr(), slopes)) return kNotPlain;
    if (slopes.dtype != kFloat32 || !slopes.has_shape({p.H})) return "ALiBi's slopes are not [H] in float32";
    p.slopes = reinterpret_cast<const float*>(slopes.data);
    p.slope_head = 1;
  }
  batched = packed.dims == 3;
  if (!batched && packed.dims != 2) return "the input has another number of dimensions";
  const int64_t width = packed.size(-1);
  if (p.H < 1 || width < 1 || width % (3 * p.H)) return "the heads do not divide the features";
  E = width / 3;
  p.D = p.V = E / p.H;
  p.B = batched ? packed.size(batch_first ? 0 : 1) : 1;
  p.T = p.S = packed.size(batched && batch_first ? 1 : 0);
  if (p.B < 1 || p.T < 1) return "a size is 0";
  const Refusal large = "queries, keys and values are above 32 MB";
  if (p.B > kLargeCallBytes || p.T > kLargeCallBytes || width > kLargeCallBytes) return large;
  return p.B * p.T <= kLargeCallBytes && p.B * p.T * width * 8 <= kLargeCallBytes ? nullptr : large;
}

bool SelfAttention::has_rows_like_input(const TensorView& view, int64_t features) const {
  if (view.dtype != int(p.dtype) || view.dims != packed.dims || view.size(-1) != features) return false;
  for (int i = 0; i + 1 < view.dims; i++)
    if (view.shape[i] != packed.shape[i]) return false;
  return true;
}

Heads SelfAttention::heads(const TensorView& view, int64_t part) const {
  char* data = view.data + part * E * number_bytes(int(p.dtype));
  if (!batched) return {data, 0, p.D, view.stride(0)};
  return batch_first ? Heads{data, view.stride(0), p.D, view.stride(1)}
                     : Heads{data, view.stride(1), p.D, view.stride(0)};
}

py::object SelfAttention::make_output(TensorView& to) const {
  int64_t shape[3];
  for (int i = 0; i < packed.dims; i++) shape[i] = packed.shape[i];
  shape[packed.dims - 1] = E;
  return empty(shape, packed.dims, int(p.dtype), to);
}

py::object SelfAttention::run(bool trains, int threads) {
  TensorView out, statistics;
  const py::object output = make_output(out);
  py::object kept;
  if (trains) {
    const int64_t shape[] = {p.B, p.H, 2, p.T};
    kept = empty(shape, 4, p.dtype == kFloat64 ? kFloat64 : kFloat32, statistics);
    p.statistics = statistics.data;
  }
  if (threads != kAsked) {
    py::gil_scoped_release release;
    run(packed.data, out, threads);
  }
  return trains ? py::make_tuple(output, kept) : output;
}

void SelfAttention::run(char* packed_at, const TensorView& output, int threads) {
  packed.data = packed_at;
  p.q = heads(packed, 0), p.k = heads(packed, 1), p.v = heads(packed, 2), p.out = heads(output, 0);
  forward(p, threads);
}

py::object SelfAttention::gradient(PyObject* grad, PyObject* output, PyObject* statistics, int threads) {
  TensorView g_out, out, kept, d_packed;
  if (!tensors.view_rows(grad, g_out) || !has_rows_like_input(g_out, E)) return py::none();
  if (!tensors.view_rows(output, out) || !has_rows_like_input(out, E)) return py::none();
  if (!tensors.view_contiguous(statistics, kept) || !kept.has_shape({p.B, p.H, 2, p.T})) return py::none();
  if (kept.dtype != (p.dtype == kFloat64 ? kFloat64 : kFloat32)) return py::none();
  const py::object result = empty(packed.shape, packed.dims, int(p.dtype), d_packed);
  p.q = heads(packed, 0), p.k = heads(packed, 1), p.v = heads(packed, 2);
  p.g_out = heads(g_out, 0), p.out = heads(out, 0);
  p.d_q = heads(d_packed, 0), p.d_k = heads(d_packed, 1), p.d_v = heads(d_packed, 2);
  p.statistics = kept.data;
  {
    py::gil_scoped_release release;
    backward(p, threads);
  }
  return result;
}

Refusal SelfAttention::read_cache(PyObject* keys, PyObject* values, int64_t begin, int64_t end) {
  TensorView cache[2];
  PyObject* given[] = {keys, values};
  const Refusal other = "the cache holds other sequences";
  if (begin < 0 || end < begin || end > (int64_t(1) << 40)) return other;
  for (int i = 0; i < 2; i++) {
    TensorView& view = cache[i];
    if (!tensors.view(given[i], view)) return kNotPlain;
    if (view.dtype != int(p.dtype) || view.dims != 4 || !view.contiguous()) return other;
    if (view.size(0) != p.B || view.size(1) != p.H || view.size(2) < end + p.T || view.size(3) != p.D)
      return other;
  }
  for (int i = 0; i < 2; i++) {
    const int64_t capacity = cache[i].size(2);
    (i == 0 ? p.k : p.v) = {cache[i].data + begin * p.D * number_bytes(int(p.dtype)), p.H * capacity * p.D,
                            capacity * p.D, p.D};
  }
  p.S = end + p.T - begin;
  p.query_start = end - begin;
  p.causal = 1;
  return nullptr;
}

void SelfAttention::run_cached(char* packed_at, const TensorView& output, int threads) {
  packed.data = packed_at;
  p.q = heads(packed, 0), p.out = heads(output, 0);
  const Heads fresh[] = {heads(packed, 1), heads(packed, 2)};
  const int64_t bytes = number_bytes(int(p.dtype));
  for (int i = 0; i < 2; i++) {
    const Heads &from = fresh[i], &to = i == 0 ? p.k : p.v;
    for (int64_t b = 0; b < p.B; b++)
      for (int64_t h = 0; h < p.H; h++)
        for (int64_t t = 0; t < p.T; t++)
          __builtin_memcpy(
              static_cast<char*>(to.data) + (b * to.batch + h * to.head + (p.query_start + t) * p.D) * bytes,
              static_cast<char*>(from.data) + (b * from.batch + h * from.head + t * from.row) * bytes,
              size_t(p.D * bytes));
  }
  forward(p, threads);
}

py::object SelfAttention::run_cached(int threads) {
  TensorView out;
  py::object output = make_output(out);
  if (threads != kAsked) {
    py::gil_scoped_release release;
    run_cached(packed.data, out, threads);
  }
  return output;
}

}  // namespace pyrnn::attention
