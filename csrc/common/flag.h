// One thread's progress, on a cache line of its own: what threads wait for at a barrier.
#pragma once
#include <stdint.h>

namespace pyrnn {

struct Flag {
  alignas(64) int64_t value;
};

}  // namespace pyrnn
