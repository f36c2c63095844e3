#include "common/tensor.h"

#include <algorithm>
#include <stdexcept>
#include <unordered_map>

#include "common/dtype.h"

namespace py = pybind11;

namespace pyrnn {
namespace {

// ---- DLPack's exchange table, version 1: as much of its layout as is read here

struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  int32_t device_type, device_id;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
struct ExchangeTable {
  uint32_t major, minor;
  void* previous;
  void *allocate, *from_object, *to_object;
  int (*view)(void* object, DLTensor* to);
};
constexpr int kCpu = 1;
constexpr uint8_t kSigned = 0, kUnsigned = 1, kFloat = 2, kBfloat = 4, kBool = 6;

int dtype_of(DLDataType dtype) {  // -1: none that has kernels here
  if (dtype.lanes != 1) return -1;
  if (dtype.code == kFloat) return dtype.bits == 32 ? kFloat32 : dtype.bits == 64 ? kFloat64 : -1;
  if (dtype.code == kSigned && dtype.bits == 64) return kIntegers;
  return dtype.code == kBfloat && dtype.bits == 16 ? kBfloat16 : -1;
}

// ---- what torch is asked by, handed over by pyrnn/_native_args.py

struct Torch {
  const ExchangeTable* exchange = nullptr;
  PyObject *tensor, *parameter, *strided, *empty, *grad_enabled, *forward_ad, *storage;
  // Methods of the tensor's and the storage's class: found once, they cost half of a call by name.
  PyObject *is_neg, *untyped_storage, *nbytes, *data_ptr;
  PyObject* dtypes[kCpuDTypes];
  PyObject* uint8;
  std::vector<PyObject*> watchers;  // each returns something false as long as it watches nothing
} torch;

struct Names {
  PyObject* layout = PyUnicode_InternFromString("layout");
  PyObject* is_cpu = PyUnicode_InternFromString("is_cpu");
  PyObject* is_cuda = PyUnicode_InternFromString("is_cuda");
  PyObject* is_nested = PyUnicode_InternFromString("is_nested");
  PyObject* requires_grad = PyUnicode_InternFromString("requires_grad");
  PyObject* contiguous = PyUnicode_InternFromString("contiguous");
  PyObject* level = PyUnicode_InternFromString("_current_level");
  PyObject* dtype = PyTuple_Pack(1, PyUnicode_InternFromString("dtype"));
};
const Names& names() {
  static const Names found;
  return found;
}

// What a call or an attribute gave; an error of Python is a "no".
py::object quiet(PyObject* found) {
  if (!found) PyErr_Clear();
  return py::reinterpret_steal<py::object>(found);
}
py::object attribute(PyObject* of, PyObject* name) { return quiet(PyObject_GetAttr(of, name)); }
py::object call(PyObject* of, PyObject* method) { return quiet(PyObject_CallMethodNoArgs(of, method)); }
py::object call_found(PyObject* method, PyObject* of) {
  return quiet(PyObject_Vectorcall(method, &of, 1, nullptr));
}
bool is(const py::object& found, PyObject* expected) { return found.ptr() == expected; }

// The tensor's class leaves its operators to torch, and its numbers are what lies in memory.
bool plain_class(PyObject* tensor) {
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(tensor));
  return type == torch.tensor || type == torch.parameter;
}
bool negated(PyObject* tensor) { return !is(call_found(torch.is_neg, tensor), Py_False); }

// The same, on a device that may have kernels.
bool plain(PyObject* tensor) {
  return plain_class(tensor) &&
         (is(attribute(tensor, names().is_cpu), Py_True) ||
          is(attribute(tensor, names().is_cuda), Py_True)) &&
         is(attribute(tensor, names().layout), torch.strided) &&
         is(attribute(tensor, names().is_nested), Py_False) && !negated(tensor);
}

// Shape and strides of a dense tensor on the CPU, and where its numbers would lie; torch refuses all others.
bool describe(PyObject* tensor, TensorView& to) {
  DLTensor found;
  if (!torch.exchange) return false;
  if (torch.exchange->view(tensor, &found)) {
    PyErr_Clear();
    return false;
  }
  const bool bytes = (found.dtype.code == kUnsigned || found.dtype.code == kBool) && found.dtype.bits == 8;
  to = {static_cast<char*>(found.data) + found.byte_offset, bytes ? kBytes : dtype_of(found.dtype),
        found.ndim, found.shape, found.strides};
  return found.device_type == kCpu && to.dtype != -1;
}

struct Memory {
  char *begin, *end;
};

// The memory that a tensor's storage owns.
bool storage_of(PyObject* tensor, Memory& to) {
  const py::object storage = call_found(torch.untyped_storage, tensor);
  if (!storage || reinterpret_cast<PyObject*>(Py_TYPE(storage.ptr())) != torch.storage) return false;
  const py::object start = call_found(torch.data_ptr, storage.ptr()),
                   size = call_found(torch.nbytes, storage.ptr());
  if (!start || !size) return false;
  to.begin = static_cast<char*>(PyLong_AsVoidPtr(start.ptr()));
  to.end = to.begin + PyLong_AsLongLong(size.ptr());
  if (PyErr_Occurred()) PyErr_Clear();
  return to.begin != nullptr;
}

// The numbers of a view lie within a memory, which may have been freed or cut behind the tensor's back.
bool within(const TensorView& view, const Memory& memory) {
  int64_t last = 0;
  for (int i = 0; i < view.dims; i++) last += (view.shape[i] - 1) * view.strides[i];
  return view.data >= memory.begin && view.data + (last + 1) * number_bytes(view.dtype) <= memory.end;
}

bool is_empty(const TensorView& view) {
  for (int i = 0; i < view.dims; i++)
    if (view.shape[i] == 0) return true;
  return false;
}

// Tensors whose storage stays theirs while the scope is entered, so that a call need not ask torch again,
// which takes six times as long as to look where the numbers lie. They may be written to; one that is given
// other memory all the same lies elsewhere, and is asked as ever.
class FrozenTensors {
 public:
  explicit FrozenTensors(const py::tuple& tensors) {
    for (const py::handle& tensor : tensors) {
      TensorView view;
      Memory memory;
      if (!plain_class(tensor.ptr()) || !describe(tensor.ptr(), view) || negated(tensor.ptr())) continue;
      if (is_empty(view) || !storage_of(tensor.ptr(), memory)) continue;
      known[tensor.ptr()] = {view.data, memory, py::reinterpret_borrow<py::object>(tensor)};
    }
  }
  FrozenTensors(const FrozenTensors&) = delete;
  ~FrozenTensors() { entered.erase(std::remove(entered.begin(), entered.end(), this), entered.end()); }

  void freeze() { entered.push_back(this); }
  void thaw() {
    const auto found = std::find(entered.rbegin(), entered.rend(), this);
    if (found != entered.rend()) entered.erase(std::prev(found.base()));
  }

  static bool holds(PyObject* tensor, const TensorView& view) {
    for (const FrozenTensors* scope : entered) {
      const auto found = scope->known.find(tensor);
      if (found != scope->known.end())
        return found->second.data == view.data && within(view, found->second.memory);
    }
    return false;
  }

 private:
  struct Known {
    char* data;
    Memory memory;
    py::object tensor;  // held: its address is the key
  };
  std::unordered_map<PyObject*, Known> known;
  static std::vector<const FrozenTensors*> entered;  // by any thread, under Python's lock
};
std::vector<const FrozenTensors*> FrozenTensors::entered;

py::object make(const int64_t* shape, int dims, PyObject* dtype, TensorView& to) {
  if (dims > kMostDims) throw std::invalid_argument("pyrnn: a tensor of too many dimensions");
  PyObject* arguments[kMostDims + 1];
  py::object sizes[kMostDims];
  for (int i = 0; i < dims; i++) {
    sizes[i] = py::reinterpret_steal<py::object>(PyLong_FromLongLong(shape[i]));
    arguments[i] = sizes[i].ptr();
  }
  arguments[dims] = dtype;
  py::object made = py::reinterpret_steal<py::object>(
      PyObject_Vectorcall(torch.empty, arguments, size_t(dims), names().dtype));
  if (!made) throw py::error_already_set();
  if (!describe(made.ptr(), to)) throw std::runtime_error("pyrnn: torch.empty made no tensor on the CPU");
  return made;
}

// The table of torch's class, where this torch has one that is understood here.
const ExchangeTable* exchange_of(const py::object& tensor) {
  constexpr const char* kAttribute = "__dlpack_c_exchange_api__";
  if (!py::hasattr(tensor, kAttribute)) return nullptr;
  const py::object capsule = tensor.attr(kAttribute);
  const auto table =
      static_cast<const ExchangeTable*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (!table) throw py::error_already_set();
  return table->major == 1 && table->view ? table : nullptr;
}

// What torch is asked by; `dtypes` by their codes. The objects stay as long as the process.
void use_torch(const py::object& tensor, const py::object& parameter, const py::object& storage,
               const py::object& strided, const py::object& empty, const py::object& grad_enabled,
               const py::object& forward_ad, const py::dict& dtypes, const py::object& uint8,
               const py::tuple& watchers) {
  const auto keep = [](const py::handle& object) { return object.inc_ref().ptr(); };
  torch.tensor = keep(tensor);
  torch.parameter = keep(parameter);
  torch.storage = keep(storage);
  torch.is_neg = keep(tensor.attr("is_neg"));
  torch.untyped_storage = keep(tensor.attr("untyped_storage"));
  torch.nbytes = keep(storage.attr("nbytes"));
  torch.data_ptr = keep(storage.attr("data_ptr"));
  torch.strided = keep(strided);
  torch.empty = keep(empty);
  torch.grad_enabled = keep(grad_enabled);
  torch.forward_ad = keep(forward_ad);
  torch.uint8 = keep(uint8);
  for (int code = 0; code < kCpuDTypes; code++) torch.dtypes[code] = keep(dtypes[py::int_(code)]);
  for (const py::handle& watcher : watchers) torch.watchers.push_back(keep(watcher));
  torch.exchange = exchange_of(tensor);
}

bool can_bypass_dispatcher(const py::tuple& tensors) {
  if (!unwatched()) return false;
  for (const py::handle& tensor : tensors)
    if (!tensor.is_none() && !plain(tensor.ptr())) return false;
  return true;
}

}  // namespace

void bind_tensors(py::module_& m) {
  m.def("use_torch", &use_torch, py::arg("tensor"), py::arg("parameter"), py::arg("storage"),
        py::arg("strided"), py::arg("empty"), py::arg("grad_enabled"), py::arg("forward_ad"),
        py::arg("dtypes"), py::arg("uint8"), py::arg("watchers"));
  m.def("can_bypass_dispatcher", &can_bypass_dispatcher);
  py::class_<FrozenTensors>(m, "FrozenTensors")
      .def(py::init<const py::tuple&>())
      .def("freeze", &FrozenTensors::freeze)
      .def("thaw", &FrozenTensors::thaw);
  m.attr("asked") = kAsked;
}

bool unwatched() {
  if (!torch.exchange) return false;  // nor has Python said what torch is asked by
  for (PyObject* watcher : torch.watchers) {
    const py::object found = quiet(PyObject_CallNoArgs(watcher));
    if (!found || PyObject_IsTrue(found.ptr())) return false;
  }
  const py::object level = attribute(torch.forward_ad, names().level);  // -1: no forward-mode derivative
  return level && PyLong_Check(level.ptr()) && PyLong_AsLong(level.ptr()) < 0;
}

bool grad_enabled() { return is(quiet(PyObject_CallNoArgs(torch.grad_enabled)), Py_True); }
bool requires_grad(PyObject* tensor) { return is(attribute(tensor, names().requires_grad), Py_True); }

int64_t number_bytes(int dtype) {
  return dtype == kFloat64 || dtype == kIntegers ? 8 : dtype == kFloat32 ? 4 : dtype == kBfloat16 ? 2 : 1;
}

bool TensorView::has_shape(const int64_t* expected, int count) const {
  bool same = dims == count;
  for (int i = 0; same && i < dims; i++) same = shape[i] == expected[i];
  return same;
}

bool TensorView::contiguous() const {
  int64_t expected = 1;
  for (int i = dims - 1; i >= 0; expected *= shape[i--])
    if (shape[i] != 1 && strides[i] != expected) return false;
  return true;
}

bool Tensors::view(PyObject* tensor, TensorView& to) {
  if (!plain_class(tensor) || !describe(tensor, to)) return false;
  if (FrozenTensors::holds(tensor, to)) return true;
  Memory memory;
  return !negated(tensor) && (is_empty(to) || (storage_of(tensor, memory) && within(to, memory)));
}

bool Tensors::view_contiguous(PyObject* tensor, TensorView& to) {
  return view(tensor, to) && (to.contiguous() || view_copy(tensor, to));
}

bool Tensors::view_rows(PyObject* tensor, TensorView& to) {
  return view(tensor, to) &&
         (to.dims == 0 || to.stride(-1) == 1 || to.size(-1) == 1 || view_copy(tensor, to));
}

bool Tensors::view_copy(PyObject* tensor, TensorView& to) {
  made.push_back(call(tensor, names().contiguous));
  return made.back() && describe(made.back().ptr(), to);
}

py::object empty(const int64_t* shape, int dims, int dtype, TensorView& to) {
  return make(shape, dims, torch.dtypes[dtype], to);
}
py::object empty_bytes(int64_t bytes, TensorView& to) { return make(&bytes, 1, torch.uint8, to); }

}  // namespace pyrnn
