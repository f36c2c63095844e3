// Arithmetic of sizes. In an anonymous namespace: the kernels' objects must not share functions.
#pragma once
#include <stdint.h>

namespace pyrnn {
namespace {

constexpr int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }
constexpr int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }
constexpr int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace
}  // namespace pyrnn
