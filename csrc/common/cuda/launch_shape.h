// How a kernel is launched, and what a device offers: the same structs for CUDA and for its emulator.
#pragma once
#include <stddef.h>
#include <vector_types.h>

namespace pyrnn {

constexpr int kLargestCluster = 16;  // blocks

struct LaunchShape {
  dim3 grid, block;
  size_t shared;     // bytes of dynamic shared memory
  bool cooperative;  // all blocks are resident at once, so they may wait for each other
  int cluster;       // blocks of consecutive x that share their shared memory; 0 or 1: none
};

struct Device {
  int sms, shared_per_block, registers_per_sm, l2_bytes, major, minor;
  bool cooperative;
};

}  // namespace pyrnn
