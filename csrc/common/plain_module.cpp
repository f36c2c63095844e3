#include "common/plain_module.h"

#include <vector>

namespace py = pybind11;

namespace pyrnn {
namespace {

struct Kind {
  PyObject *cls, *forward, *call;
};
Kind kinds[kModuleKinds];
std::vector<PyObject*> global_hooks;  // dicts of hooks on all modules

struct Names {
  PyObject* forward = PyUnicode_InternFromString("forward");
  PyObject* call = PyUnicode_InternFromString("__call__");
  PyObject* call_impl = PyUnicode_InternFromString("_call_impl");
  PyObject* compiled = PyUnicode_InternFromString("_compiled_call_impl");
  PyObject* training = PyUnicode_InternFromString("training");
  PyObject* modules = PyUnicode_InternFromString("_modules");
  PyObject* parameters = PyUnicode_InternFromString("_parameters");
  PyObject* hooks[4] = {
      PyUnicode_InternFromString("_forward_hooks"), PyUnicode_InternFromString("_forward_pre_hooks"),
      PyUnicode_InternFromString("_backward_hooks"), PyUnicode_InternFromString("_backward_pre_hooks")};
};
const Names& names() {
  static const Names found;
  return found;
}

PyObject* item(PyObject* dict, PyObject* name) {  // borrowed; null if there is none
  if (!dict || !PyDict_Check(dict)) return nullptr;
  PyObject* found = PyDict_GetItemWithError(dict, name);
  if (!found) PyErr_Clear();
  return found;
}

// The attributes of an object itself.
py::object own(PyObject* object) {
  PyObject* dict = object ? PyObject_GenericGetDict(object, nullptr) : nullptr;
  if (!dict) PyErr_Clear();
  return py::reinterpret_steal<py::object>(dict);
}

bool has_method(PyObject* cls, PyObject* name, PyObject* expected) {
  PyObject* found = PyObject_GetAttr(cls, name);
  if (!found) PyErr_Clear();
  Py_XDECREF(found);
  return found && found == expected;
}

bool empty_dict(PyObject* dict) { return dict && PyDict_Check(dict) && PyDict_GET_SIZE(dict) == 0; }

PyObject* registered(PyObject* module, PyObject* where, PyObject* name) {
  const py::object attributes = own(module);
  PyObject* found = item(item(attributes.ptr(), where), name);
  return found == Py_None ? nullptr : found;
}

// `given`: (class, forward, call) of each kind, as pyrnn/nn/plain.py's. They stay as long as the process.
void use_modules(const py::tuple& given, const py::tuple& hooks) {
  if (given.size() != kModuleKinds)
    throw py::value_error("pyrnn: other kinds of modules than the native module's");
  for (int i = 0; i < kModuleKinds; i++) {
    const py::tuple kind = given[size_t(i)];
    kinds[i] = {py::object(kind[0]).release().ptr(), py::object(kind[1]).release().ptr(),
                py::object(kind[2]).release().ptr()};
  }
  global_hooks.clear();
  for (const py::handle& each : hooks) global_hooks.push_back(each.inc_ref().ptr());
}

}  // namespace

void bind_modules(py::module_& m) { m.def("use_modules", &use_modules); }

bool classes_are_plain() {
  for (const Kind& k : kinds)
    if (!k.cls || !has_method(k.cls, names().forward, k.forward) || !has_method(k.cls, names().call, k.call))
      return false;
  for (PyObject* hooks : global_hooks)
    if (!empty_dict(hooks)) return false;
  return true;
}

bool is_plain_in_evaluation(PyObject* module, ModuleKind kind) {
  if (!module || reinterpret_cast<PyObject*>(Py_TYPE(module)) != kinds[kind].cls) return false;
  const py::object attributes = own(module);
  PyObject* dict = attributes.ptr();
  if (item(dict, names().forward) || item(dict, names().call_impl)) return false;
  PyObject* compiled = item(dict, names().compiled);
  if (compiled && compiled != Py_None) return false;
  for (PyObject* hooks : names().hooks)
    if (!empty_dict(item(dict, hooks))) return false;
  return item(dict, names().training) == Py_False;
}

PyObject* part_of(PyObject* module, PyObject* name) { return registered(module, names().modules, name); }
PyObject* parameter_of(PyObject* module, PyObject* name) {
  return registered(module, names().parameters, name);
}

}  // namespace pyrnn
