// How numbers of the storage type S are multiplied.
#pragma once
#include "common/micro_kernel.h"

namespace pyrnn {
namespace {

template <class S>
struct OperandOf {
  using type = PlainOperand<S>;
};
template <>
struct OperandOf<bf16> {
#if PYRNN_BF16_DOT
  using type = Bf16DotOperand;
#else
  using type = PlainOperand<float>;  // converted on the way in: no bfloat16 products here
#endif
};

}  // namespace
}  // namespace pyrnn
