// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "loss/problem.h"

namespace pyrnn::loss {

PYRNN_DECLARE_KERNELS(Kernels, loss)

}  // namespace pyrnn::loss
