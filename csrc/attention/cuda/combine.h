// Puts together what the splits of a forward pass found: a warp a row, always in the same order.
#pragma once
#include "attention/cuda/forward.h"

namespace pyrnn::attention::cuda {

constexpr int kCombineThreads = 128;

template <class S>
__global__ void __launch_bounds__(kCombineThreads) combine_kernel(const __grid_constant__ ForwardCall call) {
  using A = typename Accumulate<S>::type;
  const Problem& p = call.p;
  const int64_t group = p.H / p.K, of_pair = p.T * group, count = p.B * p.K * of_pair;
  const int64_t n = (int64_t(blockIdx.x) * kCombineThreads + threadIdx.x) / 32;
  if (n >= count) return;
  const int row = int(n % of_pair), lane = warp_lane();
  const QueryRows rows(p, n / of_pair / p.K, n / of_pair % p.K);
  const A* statistics = static_cast<const A*>(call.partial_statistics);
  A shift = negative_infinity<A>();
  for (int64_t i = 0; i < call.splits; i++) {
    const A high = statistics[(i * count + n) * 2];
    shift = high > shift ? high : shift;
  }
  const A offset = shift == negative_infinity<A>() ? A(0) : shift;
  A sum = 0;
  for (int64_t i = 0; i < call.splits; i++) {
    const A* part = statistics + (i * count + n) * 2;
    sum += weight_of<S>(part[0] - offset) * part[1];
  }
  if (p.statistics && lane == 0) {
    A* to = static_cast<A*>(p.statistics) + rows.statistics(row);
    to[0] = shift, to[p.T] = sum;
  }
  const A kept = p.dropout > 0 ? Dropout::kept<A>(p) : A(1);
  const A by = sum == 0 ? A(0) : kept / sum;
  S* out = rows.template of<S>(p.out, row);
  for (int64_t f = lane; f < p.V; f += 32) {
    A all = 0;
    for (int64_t i = 0; i < call.splits; i++)
      all += weight_of<S>(statistics[(i * count + n) * 2] - offset) *
             static_cast<const A*>(call.partial_out)[(i * count + n) * p.V + f];
    out[f] = narrow<S>(all * by);
  }
}

}  // namespace pyrnn::attention::cuda
