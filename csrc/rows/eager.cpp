#include "rows/eager.h"

#include "common/dispatch.h"
#include "common/integers.h"
#include "common/tensor.h"
#include "rows/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::rows {
namespace {

constexpr Refusal kLarge = "input or output are above 32 MB";

// activation(input weight^T + bias), or why this is no call for it: derivatives, more rows, a tensor that is
// not in perfect order. `bias` may be None; `activation`: its code.
py::object linear_of(const py::object& input, const py::object& weight, const py::object& bias,
                     int activation, int threads) {
  Tensors tensors;
  TensorView x, w, b, out;
  const Refusal other = "shapes or dtypes do not fit together";
  if (!unwatched()) return declined(kWatched);
  if (!tensors.view_contiguous(input.ptr(), x)) return declined(kNotPlain);
  if (x.dtype < 0) return declined("the dtype has no kernel on the CPU");
  if (x.dims < 1 || x.dims > kMostDims) return declined("the input has another number of dimensions");
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.dims; i++) rows = rows <= most_rows() ? rows * x.size(i) : rows;
  if (rows < 1) return declined("there are no rows");
  if (rows > most_rows()) return declined(kManyRows);
  if (!tensors.view_contiguous(weight.ptr(), w)) return declined(kNotPlain);
  if (w.dtype != x.dtype || w.dims != 2) return declined(other);
  const int64_t K = x.size(-1), n = w.size(0);
  if (K < 1 || n < 1 || w.size(1) != K || K > kLargeCallBytes || n > kLargeCallBytes) return declined(other);
  if (rows * max(K, n) * number_bytes(x.dtype) > kLargeCallBytes) return declined(kLarge);
  if (!bias.is_none() && !tensors.view_contiguous(bias.ptr(), b)) return declined(kNotPlain);
  if (!bias.is_none() && (b.dtype != x.dtype || !b.has_shape({n}))) return declined(other);
  if (grad_enabled())
    for (const py::object* each : {&input, &weight, &bias})
      if (!each->is_none() && requires_grad(each->ptr())) return declined(kRecords);
  int64_t shape[kMostDims];
  for (int i = 0; i < x.dims; i++) shape[i] = i + 1 < x.dims ? x.shape[i] : n;
  const py::object output = empty(shape, x.dims, x.dtype, out);
  if (threads != kAsked) {
    py::gil_scoped_release release;
    linear(x.dtype, {rows, K, n, activation, x.data, w.data, b.data, nullptr, out.data}, threads);
  }
  return output;
}

}  // namespace

int64_t most_rows() {
#if defined(__x86_64__)
  static const bool is_amd = __builtin_cpu_is("amd");
  if (is_amd && kernels(kFloat32).rows->wide) return 1 << 12;
#endif
  return 16;
}

void bind_eager(py::module_& m) {
  m.def("linear_of_rows", &linear_of);
  m.def("most_rows", &most_rows);
}

}  // namespace pyrnn::rows
