// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "../common/kernel_sets.h"
#include "problem.h"

namespace pyrnn {

PYRNN_DECLARE_KERNELS(AttentionKernel, attention)

}  // namespace pyrnn
