// Barriers of blocks, warps and clusters, schedules, and the limits of a launch.
#include <algorithm>
#include <set>

#include "cases.h"

namespace {

using namespace pyrnn;

// ---- blocks -----------------------------------------------------------------------------------------

__global__ void barrier_in_two_branches() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void exit_before_barrier(int* out) {
  if (threadIdx.x >= 40) return;
  out[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int i = 0; i < 40; i++) out[64] += out[i];
}
__global__ void wait_for_each_other() {
  if (threadIdx.x == 0)
    __syncthreads();
  else
    __syncwarp();
}
__global__ void poll(unsigned* flag) {
  while (ptx::ld_acquire(flag) == 0) {
  }
}
__global__ void grid_barrier(unsigned* arrivals) {
  ptx::red_add_release(arrivals, 1);
  while (ptx::ld_acquire(arrivals) < gridDim.x * blockDim.x) {
  }
}
__global__ void nothing() {}
__global__ void stop() {
  if (blockIdx.x == 1) ptx::trap();
}

bool exited_threads_do_not_count() {
  int out[65] = {};
  return runs(exit_before_barrier, blocks_of(1, 64), out) && out[64] == 40;
}
bool recovers() {
  try {
    runs(stop, blocks_of(4, 64));
    return false;
  } catch (const std::runtime_error&) {
    return exited_threads_do_not_count();
  }
}
bool smaller_device() {
  emulate_device(2, 4096);
  const Device device = device_properties(0);
  bool refused = false;
  try {
    runs(nothing, cooperative(5, 1024));
  } catch (const std::runtime_error&) {
    refused = true;
  }
  const bool right = refused && device.sms == 2 && blocks_per_sm<nothing>(256, 5000) == 0 &&
                     blocks_per_sm<nothing>(256, 1024) == 2 && runs(nothing, cooperative(4, 1024));
  emulate_device(132, 227 * 1024);
  return right;
}

// ---- warps ------------------------------------------------------------------------------------------

__global__ void shuffle_and_vote(float* out) {
  const int lane = int(threadIdx.x) % 32;
  float sum = float(lane);
  for (int with = 16; with > 0; with /= 2) sum += __shfl_xor_sync(~0u, sum, with);
  out[0 + lane] = sum;  // 496
  out[32 + lane] =
      float(__shfl_down_sync(~0u, lane, 4, 8));  // the same, where it would leave its eight lanes
  out[64 + lane] = float(__shfl_sync(~0u, double(lane), 9, 8));
  out[96 + lane] = float(__ballot_sync(~0u, lane % 4 == 0) & 0xff);
  if (lane < 8) out[128 + lane] = float(__shfl_up_sync(0xffu, lane, 1));
}
__global__ void shuffle_from_absent_lane(float* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 16);
}
__global__ void shuffle_outside_of_mask() { __shfl_sync(1u, 1.0f, 0); }
__global__ void shuffle_in_two_places() {
  if (threadIdx.x < 8)
    __shfl_sync(~0u, 1.0f, 0);
  else
    __shfl_sync(~0u, 1.0f, 0);
}
__global__ void multiply_after_exit() {
  if (threadIdx.x == 31) return;
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  ptx::mma_m16n8k16(d, a, b, __half());
}

bool collectives() {
  float out[136] = {};
  runs(shuffle_and_vote, blocks_of(1, 32), out);
  bool right = true;
  for (int lane = 0; lane < 32; lane++)
    right &= out[lane] == 496 && out[32 + lane] == (lane % 8 < 4 ? lane + 4 : lane) &&
             out[64 + lane] == lane / 8 * 8 + 1 && out[96 + lane] == 0x11;
  for (int lane = 0; lane < 8; lane++) right &= out[128 + lane] == std::max(0, lane - 1);
  return right;
}

// ---- clusters ---------------------------------------------------------------------------------------

__device__ void cluster_barrier() {
  ptx::cluster_arrive_release();
  ptx::cluster_wait_acquire();
}
// Each block reads its neighbour's number, `rounds` times.
template <bool kBarrierAtEnd>
__global__ void pass_around(unsigned* out, int rounds) {
  SHARED_ARRAY(unsigned, number, 2);
  const unsigned rank = ptx::cluster_rank(), size = ptx::cluster_size();
  if (threadIdx.x == 0) number[0] = blockIdx.x;
  for (int i = 0; i < rounds; i++) {
    cluster_barrier();
    if (threadIdx.x == 0) number[(i + 1) % 2] = *ptx::map_shared_rank(&number[i % 2], (rank + 1) % size);
  }
  if (kBarrierAtEnd) cluster_barrier();
  if (threadIdx.x == 0) out[blockIdx.x] = number[rounds % 2];
}
__global__ void leave_early(unsigned* out) {
  SHARED_ARRAY(unsigned, number, 1);
  if (threadIdx.x == 0) number[0] = 5;
  cluster_barrier();
  if (ptx::cluster_rank() != 0) return;
  for (unsigned i = 0; i < 100; i++) __nanosleep(10);
  if (threadIdx.x == 0) out[0] = *ptx::map_shared_rank(&number[0], 1);
}
__global__ void arrive_twice() {
  ptx::cluster_arrive_release();
  if (threadIdx.x == 0) ptx::cluster_arrive_release();
}
__global__ void wait_only() { ptx::cluster_wait_acquire(); }
__global__ void map_beyond() {
  SHARED_ARRAY(unsigned, number, 1);
  ptx::map_shared_rank(&number[0], 2);
}
__global__ void map_global(unsigned* p) { ptx::map_shared_rank(p, 0); }

bool neighbours() {
  unsigned out[8] = {};
  runs(pass_around<true>, clusters_of(4, 8, 64), out, 3);
  for (unsigned i = 0; i < 8; i++)
    if (out[i] != i / 4 * 4 + (i + 3) % 4) return false;
  return true;
}
template <bool kBarrierAtEnd>
bool last_round() {
  unsigned out[8];
  return runs(pass_around<kBarrierAtEnd>, clusters_of(2, 8, 32), out, 2);
}
bool leaves_early() {
  unsigned out[2];
  return runs(leave_early, clusters_of(2, 2, 32), out);
}

// ---- schedules --------------------------------------------------------------------------------------

struct Log {
  unsigned count, thread[256];
};
__global__ void note(Log* log) {
  __syncthreads();
  log->thread[atomicAdd(&log->count, 1u)] = blockIdx.x * blockDim.x + threadIdx.x;
}
std::vector<unsigned> order_of(uint64_t seed) {
  Log log{};
  pyrnn_emulate_seed(seed);
  runs(note, cooperative(4, 64), &log);
  return {log.thread, log.thread + 256};
}
bool schedules_differ() {
  std::set<std::vector<unsigned>> orders;
  for (uint64_t seed = 0; seed < 8; seed++) orders.insert(order_of(seed));
  return orders.size() == 8;
}
bool seeds_repeat() {
  for (uint64_t seed = 0; seed < 8; seed++)
    if (order_of(seed) != order_of(seed)) return false;
  return true;
}

unsigned flag;

const std::vector<Case> kCases = {
    {"divergent_barrier", [] { return runs(barrier_in_two_branches, blocks_of(1, 64)); }},
    {"exited_threads_do_not_count", exited_threads_do_not_count},
    {"deadlock", [] { return runs(wait_for_each_other, blocks_of(1, 32)); }},
    {"livelock", [] { return runs(poll, blocks_of(2, 32), &flag); }},
    {"blocks_wait_without_cooperation",
     [] {
       flag = 0;
       return runs(grid_barrier, blocks_of(64, 32), &flag);
     }},
    {"blocks_wait_in_cooperation",
     [] {
       flag = 0;
       const bool right = runs(grid_barrier, cooperative(8, 32), &flag);
       flag = 0;
       return right;
     }},
    {"trap", [] { return runs(stop, blocks_of(2, 32)); }},
    {"recovers", recovers},
    {"smaller_device", smaller_device},
    {"too_many_threads", [] { return runs(nothing, blocks_of(1, 1025)); }},
    {"no_blocks", [] { return runs(nothing, blocks_of(0, 32)); }},
    {"not_resident", [] { return runs(nothing, cooperative(265, 1024)); }},
    {"collectives", collectives},
    {"shuffle_from_absent_lane",
     [] {
       float out[16];
       return runs(shuffle_from_absent_lane, blocks_of(1, 32), out);
     }},
    {"shuffle_outside_of_mask", [] { return runs(shuffle_outside_of_mask, blocks_of(1, 32)); }},
    {"shuffle_in_two_places", [] { return runs(shuffle_in_two_places, blocks_of(1, 32)); }},
    {"multiply_after_exit", [] { return runs(multiply_after_exit, blocks_of(1, 32)); }},
    {"half_a_warp_multiplies", [] { return runs(multiply_after_exit, blocks_of(1, 16)); }},
    {"cluster_neighbours", neighbours},
    {"cluster_waits_at_end", last_round<true>},
    {"cluster_does_not_wait_at_end", last_round<false>},
    {"cluster_leaves_early", leaves_early},
    {"cluster_arrives_twice", [] { return runs(arrive_twice, clusters_of(2, 2, 32)); }},
    {"cluster_waits_only", [] { return runs(wait_only, clusters_of(2, 2, 32)); }},
    {"cluster_too_large", [] { return runs(nothing, clusters_of(32, 32, 32)); }},
    {"cluster_does_not_divide", [] { return runs(nothing, clusters_of(3, 8, 32)); }},
    {"cluster_rank_beyond", [] { return runs(map_beyond, clusters_of(2, 2, 32)); }},
    {"cluster_maps_global_memory", [] { return runs(map_global, clusters_of(2, 2, 32), &flag); }},
    {"schedules_differ", schedules_differ},
    {"seeds_repeat", seeds_repeat},
};

}  // namespace

int main() { return run_cases(kCases); }
