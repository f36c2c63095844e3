// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "rows/problem.h"

namespace pyrnn::rows {

PYRNN_DECLARE_KERNELS(Kernels, rows)

}  // namespace pyrnn::rows
