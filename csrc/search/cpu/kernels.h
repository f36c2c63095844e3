// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "search/problem.h"

namespace pyrnn::search {

PYRNN_DECLARE_KERNELS(Kernels, search)

}  // namespace pyrnn::search
