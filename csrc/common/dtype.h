// The storage types that every operator's kernels are compiled for; pyrnn/ops/_addresses.py has the same
// codes.
#pragma once

namespace pyrnn {

enum DType { kFloat32, kBfloat16, kFloat64, kDTypes };

}  // namespace pyrnn
