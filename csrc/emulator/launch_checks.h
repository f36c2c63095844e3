// Limits of the emulated device.
#pragma once
#include <string>

#include "common/cuda/launch_shape.h"

namespace pyrnn {
namespace emulator {

std::string why_not_launched(const LaunchShape& shape);  // empty: it can be
int shared_limit();                                      // bytes a block may have
constexpr size_t kStaticSharedLimit = 48 * 1024;

}  // namespace emulator
}  // namespace pyrnn
