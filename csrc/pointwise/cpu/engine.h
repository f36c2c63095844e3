// One call of dropout, of the normalisation of a sum with it, or of rotary embedding: checks, threads.
#pragma once
#include "pointwise/problem.h"

namespace pyrnn::pointwise {

void dropout_forward(const DropoutProblem& p, int threads);
void dropout_backward(const DropoutProblem& p, int threads);
void residual_norm_forward(const ResidualNormProblem& p, int threads);
void residual_norm_backward(const ResidualNormProblem& p, int threads);
void rotary(const RotaryProblem& p, int threads);

}  // namespace pyrnn::pointwise
