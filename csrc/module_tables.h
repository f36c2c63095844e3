// The dtypes and cells that both modules export to Python, which repeats none of their numbers.
#pragma once
#include <pybind11/pybind11.h>

#include "common/dtype.h"
#include "recurrent/cells/table.h"

namespace pyrnn {

// m.dtypes: {name: code}; m.cells: {name: (code, gates, slots, saved)}.
inline void export_tables(pybind11::module_& m) {
  pybind11::dict dtypes, cells;
  for (const DTypeName& dtype : kDTypeNames) dtypes[dtype.name] = int(dtype.code);
  for (int code = 0; code < recurrent::kCellKinds; code++) {
    const recurrent::CellInfo& cell = recurrent::kCells[code];
    cells[cell.name] = pybind11::make_tuple(code, cell.gates, cell.slots, cell.saved);
  }
  m.attr("dtypes") = dtypes;
  m.attr("cells") = cells;
}

}  // namespace pyrnn
