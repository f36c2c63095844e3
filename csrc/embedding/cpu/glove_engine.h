// A block of pairs: checks, order, threads. Addresses are the caller's to check.
#pragma once
#include "embedding/glove.h"

namespace pyrnn::embedding {

// The sum of f e^2 over the pairs, each as it was found. Throws std::invalid_argument for a pair that is
// none: an index outside [0, V), a count that is not finite and positive.
double glove(const GloveProblem& p, int threads);

}  // namespace pyrnn::embedding
