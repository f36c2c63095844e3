// One call of attention: checks, memory, threads.
#pragma once
#include "attention/problem.h"

namespace pyrnn::attention {

void forward(const Problem& p, int threads);
void backward(const Problem& p, int threads);

}  // namespace pyrnn::attention
