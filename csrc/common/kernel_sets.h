// Every operator's kernels are compiled once for each instruction set and storage type
// (csrc/<operator>/kernels.cpp). Each of these objects defines one constant, pyrnn_<operator>_<instruction
// set>_<dtype>.
#pragma once

#define PYRNN_DECLARE_SET(Kernels, op, isa)               \
  extern "C" const Kernels pyrnn_##op##_##isa##_float32;  \
  extern "C" const Kernels pyrnn_##op##_##isa##_bfloat16; \
  extern "C" const Kernels pyrnn_##op##_##isa##_float64;
#define PYRNN_DECLARE_KERNELS(Kernels, op) \
  PYRNN_DECLARE_SET(Kernels, op, baseline) \
  PYRNN_DECLARE_SET(Kernels, op, avx2)     \
  PYRNN_DECLARE_SET(Kernels, op, avx512)   \
  PYRNN_DECLARE_SET(Kernels, op, avx512_bf16)

// The definition, in an object that is compiled with PYRNN_ISA and PYRNN_DTYPE.
#define PYRNN_SET_NAME_(op, isa, dtype) pyrnn_##op##_##isa##_##dtype
#define PYRNN_SET_NAME(op, isa, dtype) PYRNN_SET_NAME_(op, isa, dtype)
#define PYRNN_DEFINE_KERNELS(Kernels, op) extern "C" const Kernels PYRNN_SET_NAME(op, PYRNN_ISA, PYRNN_DTYPE)
