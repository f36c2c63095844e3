// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "recurrent/cells/list.h"
#include "recurrent/problem.h"

namespace pyrnn::recurrent {

struct Kernels {
  Kernel cell[kCellKinds];
  int64_t (*fma_burst)(int64_t iterations);
};
PYRNN_DECLARE_KERNELS(Kernels, recurrent)

}  // namespace pyrnn::recurrent
