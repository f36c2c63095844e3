// What the CUDA runtime answers, as exceptions with words.
#pragma once
#include <stdexcept>
#include <string>

#include "common/cuda/device.h"

namespace pyrnn {

// Raises std::runtime_error for anything but success.
inline void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("pyrnn: ") + what + ": " + cudaGetErrorString(error));
}

}  // namespace pyrnn
