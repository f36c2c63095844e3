// Tensors of Python, looked at without torch's library: kind and storage by their attributes, shape and
// address by the C interface that torch's class exports (DLPack's exchange table), which copies nothing.
//
// For calls so small that Python's own questions would take longer than their kernel. No question raises:
// a tensor or a state of torch that is not known here is declined, and the caller takes the general path,
// which has words for it.
#pragma once
#include <pybind11/pybind11.h>
#include <stdint.h>

#include <initializer_list>
#include <vector>

namespace pyrnn {

// `use_torch`, which hands over what torch is asked by, and `can_bypass_dispatcher`.
void bind_tensors(pybind11::module_& m);

// Why a call is declined, in words that `pyrnn.explain` repeats; null where it is served.
using Refusal = const char*;
constexpr Refusal kWatched = "a mode, a transform, a trace or autocast watches the call";
constexpr Refusal kRecords = "gradients are recorded";
constexpr Refusal kNotPlain =
    "a tensor is no plain dense one on the CPU, or torch's tensors have no exchange table of DLPack";
inline pybind11::object declined(Refusal why) { return pybind11::str(why); }

// The threads of a call that is only asked about: it is declined as any other, or gets results without
// numbers, for which nothing is computed.
constexpr int kAsked = 0;

// Whether nothing but autograd would see a call: no mode, transform, trace or autocast is active.
bool unwatched();

// Whether autograd records now.
bool grad_enabled();
bool requires_grad(PyObject* tensor);

// From here on the general path asks for large pages, and what Python costs does not count.
constexpr int64_t kLargeCallBytes = 32 << 20;

// In place of a DType: torch.uint8 and torch.bool, which hold what training keeps and padding; torch.int64.
constexpr int kBytes = -2, kIntegers = -3;

int64_t number_bytes(int dtype);

constexpr int kMostDims = 8;  // of a tensor that `empty` makes

// Numbers of one tensor. Owns nothing: the tensor must live.
struct TensorView {
  char* data = nullptr;
  int dtype = 0;  // DType, or a code above
  int dims = 0;
  const int64_t *shape = nullptr, *strides = nullptr;  // [dims], strides in elements

  int64_t size(int dim) const { return shape[dim < 0 ? dims + dim : dim]; }
  int64_t stride(int dim) const { return strides[dim < 0 ? dims + dim : dim]; }
  bool has_shape(const int64_t* expected, int count) const;
  bool has_shape(std::initializer_list<int64_t> expected) const {
    return has_shape(expected.begin(), int(expected.size()));
  }
  bool contiguous() const;
};

// The tensors of one call: looks at each, and holds those that it had to make.
class Tensors {
 public:
  // A plain dense tensor on the CPU, whose storage holds all that shape and strides lead to. Always declined
  // where torch's class has no exchange table.
  bool view(PyObject* tensor, TensorView& to);
  // The same of a tensor without gaps or overlaps: itself, or a copy.
  bool view_contiguous(PyObject* tensor, TensorView& to);
  // The same of a tensor whose last dimension lies side by side.
  bool view_rows(PyObject* tensor, TensorView& to);
  // Lets a tensor live as long as this does: one that nobody else is sure to hold.
  void keep(PyObject* tensor) { made.push_back(pybind11::reinterpret_borrow<pybind11::object>(tensor)); }

 private:
  bool view_copy(PyObject* tensor, TensorView& to);
  std::vector<pybind11::object> made;
};

// A new tensor on the CPU, not initialised. Throws what torch raises.
pybind11::object empty(const int64_t* shape, int dims, int dtype, TensorView& to);
pybind11::object empty_bytes(int64_t bytes, TensorView& to);

}  // namespace pyrnn
