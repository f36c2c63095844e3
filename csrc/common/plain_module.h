// Modules of torch.nn, asked from C++ what pyrnn/nn/plain.py asks in Python: whether calling one does what
// its class does and nothing else, and where its parameters are.
#pragma once
#include <pybind11/pybind11.h>

namespace pyrnn {

// Classes of modules that C++ takes the place of.
enum ModuleKind { kLinearModule, kNormModule, kDropoutModule, kAttentionModule, kModuleKinds };

void bind_modules(pybind11::module_& m);

// Whether the classes' own methods are as they were, and no hook watches all modules: asked once a call.
bool classes_are_plain();

// Whether, given that, `module(...)` runs the forward of this kind and nothing else, and in evaluation mode.
// Raises nothing; false for null.
bool is_plain_in_evaluation(PyObject* module, ModuleKind kind);

// The part, or the parameter, that the module itself registered under a name; null if there is none.
// Borrowed. A parametrized weight is none: it is computed.
PyObject* part_of(PyObject* module, PyObject* name);
PyObject* parameter_of(PyObject* module, PyObject* name);

}  // namespace pyrnn
