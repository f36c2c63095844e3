// What a cell is to the engines. A cell is a struct of constants and two functions, shared by host and
// device:
//
//   kName                       Python's name of it
//   kGates                      rows of the weights are kGates * H, gate after gate in torch's order
//   kSlots                      values a unit needs in one step: before `forward` a slot is a pre-activation,
//                               after it what `backward` needs
//   kInputSlot, kHiddenSlot     first of the kGates neighbouring slots that W_ih x, and W_hh h, add to
//   input_gate, hidden_gate     torch's gate in each of these slots
//   k...GradSlot, ..._grad_gate  the same for the gradients of the slots
//   kSaved                      values per unit and step that training keeps (the slots, then c)
//   kCarry                      the state beside the products' input, kept in the accumulation type
//   kSavedState                 the state that `backward` looks up again
//   kWidth                      vectors of units in one panel of packed weights
//
// To add a cell: one such file, its type in list.h, its equations in pyrnn/reference.
#pragma once
#include "common/host_device.h"

namespace pyrnn::recurrent {

enum class Carry { none, hidden, cell };
enum class SavedState { current_hidden, previous_hidden, cell };

}  // namespace pyrnn::recurrent
