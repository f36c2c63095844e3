// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "crf/problem.h"

namespace pyrnn::crf {

PYRNN_DECLARE_KERNELS(Kernels, crf)

}  // namespace pyrnn::crf
