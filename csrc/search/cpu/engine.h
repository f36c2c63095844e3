// The candidates of all rows: threads. Addresses are the caller's to check.
#pragma once
#include "search/problem.h"

namespace pyrnn::search {

void choose(int dtype, const Choice& p, int threads);

// The logarithm of what `choose` leaves in `sum`. That of float32 logits has an error of 1e-8 and is rounded
// to a finer grid, on which sums of log-probabilities are exact, whatever their order: outputs that are
// equally good stay so.
double log_of_sum(double sum, int dtype);

}  // namespace pyrnn::search
