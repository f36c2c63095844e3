// How a pass is laid out on a device, computed from the device's properties; nothing is fixed per model of
// GPU.
#pragma once
#include <string>

#include "recurrent/cuda/kernels.h"

namespace pyrnn::recurrent::cuda {

struct Sizes {
  int cell, dtype;
  int64_t T, B, H, D, checkpoint_every;
};

struct Plan {
  Engine engine;  // kCluster, kPersistent or kStep
  bool resident;  // weights in shared memory; else read from the second-level cache in each step
  const Kernel* kernel;
  const PassKernels* kernels;
  int64_t unit_blocks, slices, rows, k_slot;
  size_t shared;                                     // dynamic shared memory of a block
  size_t exchange_at, carry_at, arrivals_at, bytes;  // offsets in the scratch memory, after the weights
  std::string why;
};

const KernelSet& cuda_kernels(int dtype);

// Raises std::invalid_argument for sizes that no kernel has, or a forced engine that does not fit the device.
Plan make_plan(const Sizes& sizes, bool backward, const Device& device, Engine engine);

// The same for the device in use, which has number `device`; kept, because asking the driver takes longer
// than a step.
const Plan& cached_plan(const Sizes& sizes, bool backward, int device, Engine engine);

}  // namespace pyrnn::recurrent::cuda
