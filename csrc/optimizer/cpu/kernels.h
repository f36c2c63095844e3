// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "optimizer/problem.h"

namespace pyrnn::optimizer {

PYRNN_DECLARE_KERNELS(Kernels, optimizer)

}  // namespace pyrnn::optimizer
