// A search for the nearest rows: blocks, threads, and the best of each query. Addresses are the caller's to
// check.
#pragma once
#include "embedding/nearest.h"

namespace pyrnn::embedding {

void nearest(const NearestProblem& p, int threads);

}  // namespace pyrnn::embedding
