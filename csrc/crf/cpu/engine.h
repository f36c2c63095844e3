// One call on a linear-chain conditional random field: sorts the rows, provides scratch memory, runs the
// kernels on the threads.
#pragma once
#include "crf/problem.h"

namespace pyrnn::crf {

void forward(const Problem& p, int threads);
void backward(const Problem& p, int threads);
void viterbi(const Problem& p, int threads);

}  // namespace pyrnn::crf
