// A sequence as Python hands it over: its address and its strides over time and batch.
#pragma once
#include "common/fields.h"
#include "recurrent/problem.h"

namespace pyrnn {

template <>
inline void assign(recurrent::Sequence& field, PyObject* value) {
  static const Field<recurrent::Sequence> kSequence[] = {PYRNN_FIELD(recurrent::Sequence, data),
                                                         PYRNN_FIELD(recurrent::Sequence, t),
                                                         PYRNN_FIELD(recurrent::Sequence, b)};
  fill(field, kSequence, value);
}

}  // namespace pyrnn
