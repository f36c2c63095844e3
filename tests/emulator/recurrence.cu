// A cooperative recurrence in miniature, and the faults that the emulator must see in it.
//
//   h[t + 1][u] = tanh(x[t][u] + sum over k of w[u][k] h[t][k])
//
// A block owns kOwn units, a warp one unit at a time; the lanes share k. The blocks wait for each other after
// each step. The argument is the number of a fault of the list below, which is then there. Prints "right",
// "wrong" or the emulator's words, and ends with 0, 1 or 2.
#include <stdio.h>
#include <stdlib.h>

#include <stdexcept>
#include <vector>

#include "common/cuda/ptx.h"
#include "common/cuda/shared_memory.h"

namespace {

using namespace pyrnn;

enum Fault {
  none,
  missing_syncthreads,
  wrong_lane,
  tail_off_by_one,
  missing_grid_barrier,
  missing_release,
  single_buffer,
  wrong_arrival_count,
  missing_copy_wait,
  tile_too_small,
};
Fault fault = none;

constexpr int kOwn = 8, kThreads = 64, kWarps = kThreads / 32;

struct Recurrence {
  int steps, units;
  const float* w;      // [units][units]
  const float* x;      // [steps][units]
  float* y;            // [steps][units]
  float* exchange;     // [2][units rounded up to 4]
  unsigned* arrivals;  // [1]
};

__device__ void grid_barrier(unsigned* arrivals, int step) {
  if (fault == missing_grid_barrier) return;
  __syncthreads();
  if (threadIdx.x == 0) {
    if (fault == missing_release)
      atomicAdd(arrivals, 1u);
    else
      ptx::red_add_release(arrivals, 1);
    const unsigned late = fault == wrong_arrival_count ? 1 : 0;
    while (ptx::ld_acquire(arrivals) < gridDim.x * unsigned(step + 1) + late) {
    }
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) recurrence(const __grid_constant__ Recurrence r) {
  DYNAMIC_SHARED(memory);
  SHARED_ARRAY(float, sums, kOwn);
  SharedAllocator allocator{memory};
  const int stride = (r.units + 3) / 4 * 4;
  float* h = allocator.take<float>(size_t(fault == tile_too_small ? stride - 4 : stride));
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, first = int(blockIdx.x) * kOwn;
  for (int step = 0; step < r.steps; step++) {
    const float* from = r.exchange + (fault == single_buffer ? 0 : step % 2 * stride);
    float* to = r.exchange + (fault == single_buffer ? 0 : (step + 1) % 2 * stride);
    for (int k = int(threadIdx.x) * 4; k < stride; k += kThreads * 4) ptx::cp_async16(h + k, from + k, true);
    ptx::cp_async_commit();
    if (fault != missing_copy_wait) ptx::cp_async_wait<0>();
    if (fault != missing_syncthreads) __syncthreads();
    for (int own = warp; own < kOwn && first + own < r.units; own += kWarps) {
      float sum = 0;
      for (int k = lane; k < r.units; k += 32) sum += r.w[(first + own) * r.units + k] * h[k];
      for (int with = 16; with > 0; with /= 2)
        sum += __shfl_xor_sync(~0u, sum, fault == wrong_lane && with == 2 ? 1 : with);
      if (lane == 0) sums[own] = sum;
    }
    __syncthreads();
    const int own = int(threadIdx.x), unit = first + own;
    if (own < kOwn && unit < r.units + (fault == tail_off_by_one ? 1 : 0)) {
      const float value = tanhf(r.x[step * r.units + unit] + sums[own]);
      to[unit] = value;
      r.y[step * r.units + unit] = value;
    }
    grid_barrier(r.arrivals, step);
    if (fault == missing_copy_wait && step + 1 == r.steps) ptx::cp_async_wait<0>();
  }
}

bool right(int units, int steps) {
  std::vector<float> w(size_t(units * units)), x(size_t(steps * units)), y(x.size(), -1.0f);
  unsigned state = 1;
  auto draw = [&state] {
    return float(int((state = state * 1664525u + 1013904223u) >> 16) - 32768) / 32768.0f;
  };
  for (float& value : w) value = 0.3f * draw();
  for (float& value : x) value = draw();
  std::vector<float> exchange(size_t((units + 3) / 4 * 4 * 2), 0.0f);
  // No spare elements, so that AddressSanitizer sees every step past the end.
  w.shrink_to_fit(), x.shrink_to_fit(), y.shrink_to_fit();
  unsigned arrivals = 0;
  const size_t tile = tile_bytes<float>(size_t((units + 3) / 4 * 4));
  const LaunchShape shape{dim3(unsigned(units + kOwn - 1) / kOwn), dim3(kThreads), tile, true, 0};
  const Recurrence r{steps, units, w.data(), x.data(), y.data(), exchange.data(), &arrivals};
  if (launch("recurrence", recurrence, shape, cudaStream_t(nullptr), r) != cudaSuccess) return false;
  std::vector<double> h(size_t(units), 0.0), next(h);
  for (int t = 0; t < steps; t++, h.swap(next)) {
    for (int u = 0; u < units; u++) {
      double sum = x[size_t(t * units + u)];
      for (int k = 0; k < units; k++) sum += double(w[size_t(u * units + k)]) * h[size_t(k)];
      next[size_t(u)] = tanh(sum);
      if (!(fabs(next[size_t(u)] - double(y[size_t(t * units + u)])) < 1e-5)) return false;
    }
  }
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) fault = Fault(atoi(arguments[1]));
  try {
    for (unsigned seed = 0; seed < 8; seed++) {
      pyrnn_emulate_seed(seed);
      for (int units : {1, 37, 64}) {
        if (right(units, 6)) continue;
        printf("wrong: seed %u, %d units\n", seed, units);
        return 1;
      }
    }
  } catch (const std::runtime_error& error) {
    printf("%s\n", error.what());
    return 2;
  }
  printf("right\n");
  return 0;
}
