#include "rows/eager.h"

#include "common/dispatch.h"
#include "common/integers.h"
#include "common/tensor.h"
#include "common/workspace.h"
#include "rows/cpu/engine.h"

namespace py = pybind11;

namespace pyrnn::rows {
namespace {

constexpr int64_t kLargeBytes = int64_t(1) << 30;
constexpr Refusal kLarge = "input or output are above 1 GB";

constexpr Refusal kOther = "shapes or dtypes do not fit together";
constexpr Refusal kDType = "the dtype has no kernel on the CPU";

// As `empty`. Memory of many megabytes is new each time, and takes longer to get by small pages.
py::object empty_on_large_pages(const int64_t* shape, int dims, int dtype, TensorView& to) {
  py::object made = empty(shape, dims, dtype, to);
  int64_t bytes = number_bytes(dtype);
  for (int i = 0; i < dims; i++) bytes *= shape[i];
  if (bytes >= kLargeCallBytes) advise_huge_pages(to.data, size_t(bytes));
  return made;
}

bool records(std::initializer_list<const py::object*> tensors) {
  if (grad_enabled())
    for (const py::object* each : tensors)
      if (!each->is_none() && requires_grad(each->ptr())) return true;
  return false;
}

// activation(input weight^T + bias), or why this is no call for it: derivatives, more rows, a tensor that is
// not in perfect order. `bias` may be None; `activation`: its code.
py::object linear_of(const py::object& input, const py::object& weight, const py::object& bias,
                     int activation, int threads) {
  Tensors tensors;
  TensorView x, w, b, out;
  if (!unwatched()) return declined(kWatched);
  if (!tensors.view_contiguous(input.ptr(), x)) return declined(kNotPlain);
  if (x.dtype < 0) return declined(kDType);
  if (x.dims < 1 || x.dims > kMostDims) return declined("the input has another number of dimensions");
  int64_t rows = 1;
  const int64_t most = most_rows(x.dtype);
  for (int i = 0; i + 1 < x.dims; i++) rows = rows <= most ? rows * x.size(i) : rows;
  if (rows < 1) return declined("there are no rows");
  if (rows > most) return declined(kManyRows);
  if (!tensors.view_contiguous(weight.ptr(), w)) return declined(kNotPlain);
  if (w.dtype != x.dtype || w.dims != 2) return declined(kOther);
  const int64_t K = x.size(-1), n = w.size(0);
  if (K < 1 || n < 1 || w.size(1) != K || K > kLargeCallBytes || n > kLargeCallBytes) return declined(kOther);
  if (rows * max(K, n) * number_bytes(x.dtype) > kLargeBytes) return declined(kLarge);
  if (!bias.is_none() && !tensors.view_contiguous(bias.ptr(), b)) return declined(kNotPlain);
  if (!bias.is_none() && (b.dtype != x.dtype || !b.has_shape({n}))) return declined(kOther);
  if (records({&input, &weight, &bias})) return declined(kRecords);
  int64_t shape[kMostDims];
  for (int i = 0; i < x.dims; i++) shape[i] = i + 1 < x.dims ? x.shape[i] : n;
  const py::object output = empty_on_large_pages(shape, x.dims, x.dtype, out);
  if (threads != kAsked) {
    py::gil_scoped_release release;
    linear(x.dtype, {rows, K, n, activation, x.data, w.data, b.data, nullptr, out.data}, threads);
  }
  return output;
}

// Whether `left` [rows, features] and `right`, both plain, are operands of a gradient, or why not.
Refusal view_operands(const py::object& left, const py::object& right, Tensors& tensors, TensorView& a,
                      TensorView& b) {
  if (!unwatched()) return kWatched;
  if (!tensors.view_contiguous(left.ptr(), a) || !tensors.view_contiguous(right.ptr(), b)) return kNotPlain;
  if (a.dtype < 0) return kDType;
  if (a.dims != 2 || b.dims != 2 || a.dtype != b.dtype) return kOther;
  for (const TensorView* each : {&a, &b})
    for (int i = 0; i < 2; i++)
      if (each->size(i) < 1) return "there are no rows or features";
  return records({&left, &right}) ? kRecords : nullptr;
}

// grad weight, the gradient of the input, or why not.
py::object input_gradient_of(const py::object& grad, const py::object& weight, int threads) {
  Tensors tensors;
  TensorView g, w, out;
  if (const Refusal why = view_operands(grad, weight, tensors, g, w)) return declined(why);
  if (g.size(1) != w.size(0)) return declined(kOther);
  const int64_t shape[] = {g.size(0), w.size(1)};
  const py::object d_input = empty_on_large_pages(shape, 2, g.dtype, out);
  const Linear problem = {shape[0], g.size(1), shape[1], pointwise::kIdentity, g.data, w.data, nullptr,
                          nullptr,  out.data,  true};
  {
    py::gil_scoped_release release;
    linear(g.dtype, problem, threads);
  }
  return d_input;
}

// (grad^T input, sums of grad or None), the gradients of weight and bias, or why not.
py::object weight_gradient_of(const py::object& grad, const py::object& input, bool with_bias, int threads) {
  Tensors tensors;
  TensorView g, x, weight, bias;
  if (const Refusal why = view_operands(grad, input, tensors, g, x)) return declined(why);
  if (g.size(0) != x.size(0)) return declined(kOther);
  const int64_t shape[] = {g.size(1), x.size(1)};
  const py::object d_weight = empty(shape, 2, g.dtype, weight);
  const py::object d_bias = with_bias ? empty(shape, 1, g.dtype, bias) : py::none();
  {
    py::gil_scoped_release release;
    weight_gradient(g.dtype, {g.size(0), shape[1], shape[0], x.data, g.data, weight.data, bias.data},
                    threads);
  }
  return py::make_tuple(d_weight, d_bias);
}

}  // namespace

int64_t most_rows(int dtype) {
#if defined(__x86_64__)
  static const bool is_amd = __builtin_cpu_is("amd");
  const Kernels& found = *kernels(dtype).rows;
  if (is_amd && found.wide) return found.pairs ? 1 << 8 : 1 << 12;
#endif
  return 16;
}

void bind_eager(py::module_& m) {
  m.def("linear_of_rows", &linear_of);
  m.def("linear_input_gradient", &input_gradient_of);
  m.def("linear_weight_gradient", &weight_gradient_of);
  m.def("most_rows", &most_rows, py::arg("dtype") = int(kFloat32));
}

}  // namespace pyrnn::rows
