// How functions are declared that the CPU's kernels and those of CUDA both call.
#pragma once

// Arithmetic must be inlined (vectors change the calling convention); functions whose addresses are taken
// must not be forced to: without optimisation that cannot be done.
#ifdef __CUDACC__
#  define PYRNN_HOST_DEVICE __host__ __device__
#  define PYRNN_INLINE __forceinline__
#else
#  define PYRNN_HOST_DEVICE
#  define PYRNN_INLINE inline __attribute__((always_inline))
#endif
