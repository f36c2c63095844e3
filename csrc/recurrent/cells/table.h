// Every cell's name and sizes, by code: what engines, planners and Python must know of it.
#pragma once
#include "recurrent/cells/list.h"

namespace pyrnn::recurrent {
namespace {

struct CellInfo {
  const char* name;         // Python's
  int gates, slots, saved;  // as in cell.h
  bool has_c;               // a cell state, and so possibly a projection
};

struct CellTable {
  CellInfo cell[kCellKinds];
  constexpr const CellInfo& operator[](int code) const { return cell[code]; }
};

template <class... Cell>
constexpr CellTable table_of(CellList<Cell...>) {
  return {{{Cell::kName, Cell::kGates, Cell::kSlots, Cell::kSaved, Cell::kCarry == Carry::cell}...}};
}
constexpr CellTable kCells = table_of(Cells{});

}  // namespace
}  // namespace pyrnn::recurrent
