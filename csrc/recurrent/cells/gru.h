// Gated recurrent unit (Cho et al. 2014), the form of cuDNN and torch: the reset gate acts after the
// recurrent product.
//
//   r, z = sigmoid(.)    n = tanh(W_in x + b_in + r * (W_hn h + b_hn))    h = n + z * (h_prev - n)
#pragma once
#include "recurrent/cells/cell.h"

namespace pyrnn::recurrent {
namespace {

struct GruCell {
  static constexpr const char* kName = "gru";
  static constexpr int kGates = 3;
  // Slots: 0 n (input part), 1 r, 2 z, 3 n (hidden part). The input product fills 0 to 2, the hidden one 1 to
  // 3, so that each adds to three neighbours. Gradients: 0 n (hidden part), 1 r, 2 z, 3 n (input part).
  static constexpr int kSlots = 4;
  static constexpr int kInputSlot = 0, kHiddenSlot = 1;
  PYRNN_HOST_DEVICE static constexpr int input_gate(int i) { return (i + 2) % 3; }
  PYRNN_HOST_DEVICE static constexpr int hidden_gate(int i) { return i; }
  static constexpr int kInputGradSlot = 1, kHiddenGradSlot = 0;
  PYRNN_HOST_DEVICE static constexpr int input_grad_gate(int i) { return i; }
  PYRNN_HOST_DEVICE static constexpr int hidden_grad_gate(int i) { return (i + 2) % 3; }
  static constexpr int kSaved = 4;
  static constexpr Carry kCarry = Carry::hidden;
  static constexpr SavedState kSavedState = SavedState::previous_hidden;
  static constexpr int kWidth = 1;

  // slot: pre-activations in; n, r, z and the hidden part of n out. carry: h_prev in, h out.
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V forward(V* slot, V& carry) {
    V r = slot[1] = Math::sigmoid(slot[1]);
    V z = slot[2] = Math::sigmoid(slot[2]);
    V n = slot[0] = Math::tanh(slot[0] + r * slot[3]);
    return carry = n + z * (carry - n);
  }

  // previous: h before the step.
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static void backward(const V* slot, V previous, V, V d_h, V&, V* d_slot,
                                                      V& d_hidden) {
    V n = slot[0], r = slot[1], z = slot[2], hidden_n = slot[3];
    V d_n = d_h * (1 - z) * (1 - n * n);
    d_slot[0] = d_n * r;
    d_slot[1] = d_n * hidden_n * r * (1 - r);
    d_slot[2] = d_h * (previous - n) * z * (1 - z);
    d_slot[3] = d_n;
    d_hidden = d_h * z;
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
