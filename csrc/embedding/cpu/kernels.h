// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "embedding/glove.h"

namespace pyrnn::embedding {

// Of an instruction set; null for storage types other than float32.
struct Kernels {
  double (*glove_train)(const GlovePart&);
  double (*glove_loss)(const GlovePart&);
};

PYRNN_DECLARE_KERNELS(Kernels, embedding)

}  // namespace pyrnn::embedding
