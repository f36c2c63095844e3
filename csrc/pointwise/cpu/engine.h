// One call of dropout: checks, threads.
#pragma once
#include "pointwise/problem.h"

namespace pyrnn::pointwise {

void dropout_forward(const DropoutProblem& p, int threads);
void dropout_backward(const DropoutProblem& p, int threads);

}  // namespace pyrnn::pointwise
