// The storage types of every operator's kernels. Both modules export these codes to Python.
#pragma once

namespace pyrnn {

enum DType { kFloat32, kBfloat16, kFloat64, kFloat16, kDTypes };
constexpr int kCpuDTypes = kFloat16;  // float16 has kernels on CUDA alone

struct DTypeName {
  const char* name;
  DType code;
};
constexpr DTypeName kDTypeNames[] = {
    {"float32", kFloat32}, {"bfloat16", kBfloat16}, {"float64", kFloat64}, {"float16", kFloat16}};

}  // namespace pyrnn
