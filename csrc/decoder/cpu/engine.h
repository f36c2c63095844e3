// One call of the decoder with attention: plans it, provides scratch memory, runs the kernels on the threads.
#pragma once
#include "decoder/problem.h"

namespace pyrnn::decoder {

int threads_of(const Problem& p, int threads);  // as many as have enough to do in a step

void forward(const Problem& p, int threads);
void backward(const Problem& p, int threads);

}  // namespace pyrnn::decoder
