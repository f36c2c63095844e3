// One call of attention: checks, memory, threads.
#pragma once
#include "problem.h"

namespace pyrnn {

void attention_forward(const AttentionProblem& p, int threads);
void attention_backward(const AttentionProblem& p, int threads);

}  // namespace pyrnn
