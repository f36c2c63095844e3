// Long short-term memory (Hochreiter and Schmidhuber 1997, with forget gate: Gers et al. 2000), torch's gate
// order.
//
//   i, f, o = sigmoid(.)    g = tanh(.)    c = f * c_prev + i * g    h = o * tanh(c)
//
// Maths only, for any value type V (a vector on the CPU, a scalar on a GPU); Math supplies sigmoid and tanh.
#pragma once
#include "recurrent/cells/cell.h"

namespace pyrnn::recurrent {
namespace {

struct LstmCell {
  static constexpr const char* kName = "lstm";
  static constexpr int kGates = 4;
  static constexpr int kSlots = 4;
  static constexpr int kInputSlot = 0, kHiddenSlot = 0;
  PYRNN_HOST_DEVICE static constexpr int input_gate(int i) { return i; }
  PYRNN_HOST_DEVICE static constexpr int hidden_gate(int i) { return i; }
  static constexpr int kInputGradSlot = 0, kHiddenGradSlot = 0;
  PYRNN_HOST_DEVICE static constexpr int input_grad_gate(int i) { return i; }
  PYRNN_HOST_DEVICE static constexpr int hidden_grad_gate(int i) { return i; }
  static constexpr int kSaved = 5;  // the slots and c
  static constexpr Carry kCarry = Carry::cell;
  static constexpr SavedState kSavedState = SavedState::cell;
  static constexpr int kWidth = 1;

  // slot: in pre-activations i, f, g, o; out their activations. carry: c_prev in, c out. Returns h.
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V forward(V* slot, V& carry) {
    V i = slot[0] = Math::sigmoid(slot[0]);
    V f = slot[1] = Math::sigmoid(slot[1]);
    V g = slot[2] = Math::tanh(slot[2]);
    V o = slot[3] = Math::sigmoid(slot[3]);
    carry = f * carry + i * g;
    return o * Math::tanh(carry);
  }

  // previous, current: c before and after the step. d_carry: gradient of c in, of c_prev out.
  // d_slot: gradients of the pre-activations. d_hidden: what h_prev receives past the products (nothing).
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static void backward(const V* slot, V previous, V current, V d_h, V& d_carry,
                                                      V* d_slot, V& d_hidden) {
    V i = slot[0], f = slot[1], g = slot[2], o = slot[3];
    V tanh_c = Math::tanh(current);
    V d_c = d_carry + d_h * o * (1 - tanh_c * tanh_c);
    d_slot[0] = d_c * g * i * (1 - i);
    d_slot[1] = d_c * previous * f * (1 - f);
    d_slot[2] = d_c * i * (1 - g * g);
    d_slot[3] = d_h * tanh_c * o * (1 - o);
    d_carry = d_c * f;
    d_hidden = V{};
  }

  // h again from the saved values, for the gradient of a projection.
  template <class Math, class V>
  PYRNN_HOST_DEVICE PYRNN_INLINE static V output(const V* slot, V carry) {
    return slot[3] * Math::tanh(carry);
  }
};

}  // namespace
}  // namespace pyrnn::recurrent
