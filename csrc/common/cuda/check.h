// What the CUDA runtime answers, as exceptions with words.
#pragma once
#include <stdexcept>
#include <string>

#include "common/cuda/device.h"

namespace pyrnn {

// Raises std::runtime_error for anything but success.
inline void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it is told here, and must not surface again at a later call
  throw std::runtime_error(std::string("pyrnn: ") + what + ": " + cudaGetErrorString(error));
}

}  // namespace pyrnn
