// The cross-entropy of some rows of logits: checks and threads.
#pragma once
#include "loss/problem.h"

namespace pyrnn::loss {

// Throws std::out_of_range for a target outside [0, V), before anything is written.
void cross_entropy(const Problem& p, int threads);

}  // namespace pyrnn::loss
