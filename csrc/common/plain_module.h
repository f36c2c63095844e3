// Modules of torch.nn, asked from C++ what pyrnn/nn/plain.py asks in Python: whether calling one does what
// its class does and nothing else, and where its parameters are.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn {

// Classes of modules that C++ takes the place of.
enum ModuleKind { kLinearModule, kNormModule, kDropoutModule, kAttentionModule, kModuleKinds };

void bind_modules(pybind11::module_& m);

// Whether `module(...)` runs the forward of this kind and nothing else. Raises nothing; false for null.
bool is_plain(PyObject* module, ModuleKind kind);
bool in_training(PyObject* module);

// The part, or the parameter, that the module itself registered under a name; null if there is none.
// Borrowed. A parametrized weight is none: it is computed.
PyObject* part_of(PyObject* module, PyObject* name);
PyObject* parameter_of(PyObject* module, PyObject* name);

}  // namespace pyrnn
