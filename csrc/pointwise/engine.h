// One call of dropout: checks, threads.
#pragma once
#include "problem.h"

namespace pyrnn {

void dropout_forward(const DropoutProblem& p, int threads);
void dropout_backward(const DropoutProblem& p, int threads);

}  // namespace pyrnn
