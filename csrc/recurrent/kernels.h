// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "../common/kernel_sets.h"
#include "problem.h"

namespace pyrnn {

struct RecurrentKernels {
  RecurrentKernel cell[kCellKinds];
  int64_t (*fma_burst)(int64_t iterations);
};
PYRNN_DECLARE_KERNELS(RecurrentKernels, recurrent)

}  // namespace pyrnn
