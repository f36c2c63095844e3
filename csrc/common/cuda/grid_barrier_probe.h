// Grid barriers alone, for measuring what one costs.
#pragma once
#include "common/cuda/device.h"

namespace pyrnn {

constexpr int kGridBarrierThreads = 256;  // of a block

// Nothing but `steps` barriers of `blocks` blocks. `arrivals` points to a zero.
void run_grid_barriers(unsigned* arrivals, int blocks, int64_t steps, cudaStream_t stream);

}  // namespace pyrnn
