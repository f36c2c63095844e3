// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "problem.h"

namespace pyrnn {

struct KernelSet {
  RecurrentKernel recurrent[kCellKinds];
  int64_t (*fma_burst)(int64_t iterations);
};

#define PYRNN_DECLARE(isa)                                   \
  extern "C" const KernelSet pyrnn_kernels_##isa##_float32;  \
  extern "C" const KernelSet pyrnn_kernels_##isa##_bfloat16; \
  extern "C" const KernelSet pyrnn_kernels_##isa##_float64;
PYRNN_DECLARE(baseline)
PYRNN_DECLARE(avx2)
PYRNN_DECLARE(avx512)
PYRNN_DECLARE(avx512_bf16)
#undef PYRNN_DECLARE

}  // namespace pyrnn
