// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "decoder/problem.h"
#include "recurrent/cells/list.h"

namespace pyrnn::decoder {

struct Kernels {
  Kernel cell[recurrent::kCellKinds];
};
PYRNN_DECLARE_KERNELS(Kernels, decoder)

}  // namespace pyrnn::decoder
