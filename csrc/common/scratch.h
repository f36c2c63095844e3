// Allocates aligned arrays in one block of memory. Run once with a null base to learn the size, once to
// allocate.
#pragma once
#include <stddef.h>

#include "common/integers.h"

namespace pyrnn {
namespace {

struct Scratch {
  char* base;
  size_t used = 0;

  template <class T>
  T* take(int64_t count) {  // null for nothing
    if (count == 0) return nullptr;
    char* p = base ? base + used : nullptr;
    // A cache line apart and off the power of two: equal offsets in neighbouring arrays would share cache
    // sets.
    used += round_up(int64_t(count * sizeof(T)), 64) + 64;
    return (T*)p;
  }
};

// Part `i`, [begin, end), of n things in `parts` equal parts.
struct Range {
  int64_t begin, end;
};
inline Range partition(int64_t n, int parts, int i) { return {n * i / parts, n * (i + 1) / parts}; }

}  // namespace
}  // namespace pyrnn
