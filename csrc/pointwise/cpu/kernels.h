// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "pointwise/problem.h"

namespace pyrnn::pointwise {

PYRNN_DECLARE_KERNELS(Kernels, pointwise)

}  // namespace pyrnn::pointwise
