// Every cell: codes, names, sizes and kernels follow from this list.
#pragma once
#include "recurrent/cells/gru.h"
#include "recurrent/cells/lstm.h"
#include "recurrent/cells/rnn.h"

namespace pyrnn::recurrent {
namespace {

template <class... Cell>
struct CellList {
  static constexpr int kCount = sizeof...(Cell);
};

// A cell's code is its position.
using Cells = CellList<RnnCell<false>, RnnCell<true>, GruCell, LstmCell>;
constexpr int kCellKinds = Cells::kCount;

}  // namespace
}  // namespace pyrnn::recurrent
