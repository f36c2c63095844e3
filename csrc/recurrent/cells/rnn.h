// Elman network (Elman 1990): h = tanh(W_ih x + b_ih + W_hh h_prev + b_hh), or max(0, .) for relu.
#pragma once
#include "recurrent/cells/cell.h"

namespace pyrnn::recurrent {
namespace {

template <bool kRelu>
struct RnnCell {
  static constexpr const char* kName = kRelu ? "rnn_relu" : "rnn_tanh";
  static constexpr int kGates = 1;
  static constexpr int kSlots = 1;
  static constexpr int kInputSlot = 0, kHiddenSlot = 0;
  PYRNN_HOST_DEVICE static constexpr int input_gate(int i) { return i; }
  PYRNN_HOST_DEVICE static constexpr int hidden_gate(int i) { return i; }
  static constexpr int kInputGradSlot = 0, kHiddenGradSlot = 0;
  PYRNN_HOST_DEVICE static constexpr int input_grad_gate(int i) { return i; }
  PYRNN_HOST_DEVICE static constexpr int hidden_grad_gate(int i) { return i; }
  static constexpr int kSaved = 0;  // the output says it all
  static constexpr Carry kCarry = Carry::none;
  static constexpr SavedState kSavedState = SavedState::current_hidden;
  static constexpr int kWidth = 2;  // one gate would leave the tile of the product too narrow

  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V forward(V* slot, V&) {
    return kRelu ? Math::relu(slot[0]) : Math::tanh(slot[0]);
  }

  // current: h after the step.
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static void backward(const V*, V, V current, V d_h, V&, V* d_slot,
                                                      V& d_hidden) {
    d_slot[0] = kRelu ? Math::where_positive(current, d_h) : d_h * (1 - current * current);
    d_hidden = V{};
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
