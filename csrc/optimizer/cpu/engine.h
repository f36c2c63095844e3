// A step of AdamW over all parameters: tasks, threads, the norm. Addresses are the caller's to check.
#pragma once
#include <vector>

#include "optimizer/problem.h"

namespace pyrnn::optimizer {

// The norm of the gradients, divided by `grad_scale`. Infinite or NaN where one of them is.
double norm_of(const std::vector<Parameter>& parameters, double grad_scale, int threads);

// Updates every parameter by its gradient times `scale`.
void adamw(const std::vector<Parameter>& parameters, double scale, int threads);

}  // namespace pyrnn::optimizer
