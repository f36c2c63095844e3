// Adds what the blocks that shared the work of the same gradients found: always in the same order.
#pragma once
#include "attention/cuda/block.h"
#include "attention/cuda/calls.h"

namespace pyrnn::attention::cuda {

constexpr int kSplitSumThreads = 128;

template <class S>
__global__ void __launch_bounds__(kSplitSumThreads)
    split_sum_kernel(const __grid_constant__ SplitSumCall call) {
  using A = typename Accumulate<S>::type;
  const int64_t n = int64_t(blockIdx.x) * kSplitSumThreads + threadIdx.x;
  const int64_t count = call.B * call.heads * call.rows * call.features;
  if (n >= count) return;
  A sum = 0;
  for (int64_t i = 0; i < call.splits; i++) sum += static_cast<const A*>(call.partial)[i * count + n];
  const int64_t row = n / call.features, head = row / call.rows;
  S* to = static_cast<S*>(call.to.data) + head / call.heads * call.to.batch +
          head % call.heads * call.to.head + row % call.rows * call.to.row;
  to[n % call.features] = narrow<S>(sum * A(call.scale));
}

}  // namespace pyrnn::attention::cuda
