// What kernels.cu defines, once for each storage type: launches, and what a planner must know of each kernel.
#pragma once
#include "common/cuda/device.h"
#include "recurrent/cells/list.h"
#include "recurrent/cuda/recurrence.h"

namespace pyrnn::recurrent::cuda {

// One kernel of one cell and pass, for blocks of `rows` batch rows at a time.
struct Kernel {
  int rows;
  size_t shared;  // dynamic shared memory of a block, weights left out
  cudaError_t (*launch)(const Recurrence&, const LaunchShape&, cudaStream_t);
  // How many run at once with so much shared memory: blocks on a multiprocessor, or clusters of `size` on the
  // device.
  int (*capacity)(size_t shared, int size);
};

struct PassKernels {
  int gates, terms;            // M rows of weights a unit; numbers that a unit puts into the exchange
  Kernel grid[2], cluster[2];  // few rows, many rows
  cudaError_t (*prepare)(const Recurrence&, const LaunchShape&, cudaStream_t);
};

struct CellKernels {
  PassKernels pass[2];  // forward, backward
  cudaError_t (*replay)(const Recurrence&, const LaunchShape&, cudaStream_t);
};

struct KernelSet {
  size_t element, sum;  // bytes of a number in the packed weights and the exchange; in the sums
  int k_block;
  CellKernels cell[kCellKinds];
};

extern "C" const KernelSet pyrnn_cuda_float32, pyrnn_cuda_bfloat16, pyrnn_cuda_float64, pyrnn_cuda_float16;

}  // namespace pyrnn::recurrent::cuda
