// Carves one block of memory into aligned arrays. Run once with a null base to learn the size, once to hand
// out.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace pyrnn {
namespace {

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
constexpr int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

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

// The share [begin, end) of part `i` of `parts` in n things.
struct Range {
  int64_t begin, end;
};
inline Range share(int64_t n, int parts, int i) { return {n * i / parts, n * (i + 1) / parts}; }

}  // namespace
}  // namespace pyrnn
