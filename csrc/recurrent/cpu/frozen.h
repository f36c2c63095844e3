// Weights that are packed once, for calls in a scope that promises not to change them.
#pragma once
#include <memory>

#include "recurrent/problem.h"

namespace pyrnn::recurrent {

struct Packed;

// Packs the weights of a problem's directions, of which cell, dtype and sizes are given.
std::shared_ptr<const Packed> pack(const Problem& p);

// From here on calls with these weights find what was packed of them, until it is thawed as often as it was
// frozen. The tensors behind them must live so long.
void freeze(const Problem& p, const std::shared_ptr<const Packed>& packed);
void thaw(const Problem& p, const std::shared_ptr<const Packed>& packed);

// Lets a forward pass use what was packed of its weights, which lives as long as the result; null if there is
// none.
std::shared_ptr<const Packed> use_frozen(Problem& p, const Kernel& kernel);

}  // namespace pyrnn::recurrent
