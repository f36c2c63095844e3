// For the C++ tests: storage of one dtype behind doubles, in a heap block of the exact size, so that
// AddressSanitizer sees a step beyond it.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/dtype.h"

namespace pyrnn {

struct Array {
  std::vector<uint8_t> bytes;
  int dtype;
  Array(int64_t n, int type)
      : bytes(size_t(n) * (type == pyrnn::kFloat64   ? 8
                           : type == pyrnn::kFloat32 ? 4
                                                     : 2)),
        dtype(type) {}
  int64_t size() const {
    return int64_t(bytes.size()) / (dtype == pyrnn::kFloat64 ? 8 : dtype == pyrnn::kFloat32 ? 4 : 2);
  }
  void set(int64_t i, double x) {
    const float f = float(x);
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    const uint16_t upper = uint16_t(bits >> 16);
    if (dtype == pyrnn::kFloat64) std::memcpy(&bytes[i * 8], &x, 8);
    if (dtype == pyrnn::kFloat32) std::memcpy(&bytes[i * 4], &f, 4);
    if (dtype == pyrnn::kBfloat16) std::memcpy(&bytes[i * 2], &upper, 2);
  }
  double get(int64_t i) const {
    double x = 0;
    float f;
    uint32_t bits = 0;
    if (dtype == pyrnn::kFloat64) std::memcpy(&x, &bytes[i * 8], 8);
    if (dtype == pyrnn::kFloat32) std::memcpy(&f, &bytes[i * 4], 4), x = f;
    if (dtype == pyrnn::kBfloat16) {
      uint16_t upper;
      std::memcpy(&upper, &bytes[i * 2], 2);
      bits = uint32_t(upper) << 16;
      std::memcpy(&f, &bits, 4);
      x = f;
    }
    return x;
  }
};

}  // namespace pyrnn
