// Structs from Python, by the names of their fields.
//
// A struct has a table of its fields; Python hands it over as one tuple with the values in that order. The
// module exports the names of each table, and Python refuses to start when its own differ: so neither side
// depends on an order that only a comment states, and every field is set.
#pragma once
#include <pybind11/pybind11.h>
#include <stdint.h>

#include <type_traits>

namespace pyrnn {

inline int64_t integer_from(PyObject* value) {
  const long long number = PyLong_AsLongLong(value);
  if (number == -1 && PyErr_Occurred()) throw pybind11::error_already_set();
  return number;
}

// An address, a number, or a struct of them.
template <class T>
void assign(T& field, PyObject* value) {
  if constexpr (std::is_pointer<T>::value) {
    field = reinterpret_cast<T>(integer_from(value));
  } else if constexpr (std::is_floating_point<T>::value) {
    field = PyFloat_AsDouble(value);
    if (field == -1 && PyErr_Occurred()) throw pybind11::error_already_set();
  } else {
    field = T(integer_from(value));
  }
}

template <class Struct>
struct Field {
  const char* name;
  void (*set)(Struct&, PyObject*);
};

#define PYRNN_FIELD(Struct, member) \
  {#member, [](Struct& to, PyObject* value) { ::pyrnn::assign(to.member, value); }}

// The values of `fields`, in their order, into `to`.
template <class Struct, size_t kCount>
void fill(Struct& to, const Field<Struct> (&fields)[kCount], const pybind11::handle& values) {
  if (!PyTuple_Check(values.ptr()) || size_t(PyTuple_GET_SIZE(values.ptr())) != kCount)
    throw pybind11::type_error("pyrnn: expected a tuple of " + std::to_string(kCount) + " fields, from " +
                               fields[0].name + " to " + fields[kCount - 1].name);
  for (size_t i = 0; i < kCount; i++) fields[i].set(to, PyTuple_GET_ITEM(values.ptr(), i));
}

template <class Struct, size_t kCount>
pybind11::tuple names_of(const Field<Struct> (&fields)[kCount]) {
  pybind11::tuple names(kCount);
  for (size_t i = 0; i < kCount; i++) names[i] = fields[i].name;
  return names;
}

}  // namespace pyrnn
