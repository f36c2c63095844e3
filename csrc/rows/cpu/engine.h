// One call: memory and threads. Addresses are the caller's to check.
#pragma once
#include "rows/problem.h"

namespace pyrnn::rows {

void linear(int dtype, const Linear& p, int threads);
void weight_gradient(int dtype, const WeightGradient& p, int threads);
void norm(int dtype, const Norm& p);

}  // namespace pyrnn::rows
