// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "attention/problem.h"
#include "common/kernel_sets.h"

namespace pyrnn::attention {

PYRNN_DECLARE_KERNELS(Kernels, attention)

}  // namespace pyrnn::attention
