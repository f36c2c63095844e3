// Every cell's sizes by name: what planners and Python must know of it.
#pragma once
#include "recurrent/cells/gru.h"
#include "recurrent/cells/lstm.h"
#include "recurrent/cells/rnn.h"
#include "recurrent/problem.h"

namespace pyrnn::recurrent {
namespace {

struct CellInfo {
  const char* name;  // Python's
  CellKind code;
  int gates, slots, saved;  // as in cell.h
};

template <class Cell>
constexpr CellInfo info(const char* name, CellKind code) {
  return {name, code, Cell::kGates, Cell::kSlots, Cell::kSaved};
}

// By code.
constexpr CellInfo kCells[kCellKinds] = {info<RnnCell<false>>("rnn_tanh", kRnnTanh),
                                         info<RnnCell<true>>("rnn_relu", kRnnRelu),
                                         info<GruCell>("gru", kGru), info<LstmCell>("lstm", kLstm)};

}  // namespace
}  // namespace pyrnn::recurrent
