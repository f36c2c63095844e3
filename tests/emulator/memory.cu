// Shared memory, copies, and the order that the race detector knows.
#include "cases.h"

namespace {

using namespace pyrnn;

// ---- shared memory ------------------------------------------------------------------------------------

__global__ void read_unwritten(float* out) {
  SHARED_ARRAY(float, tile, 32);
  out[threadIdx.x] = tile[threadIdx.x];
}
__global__ void write_past_static_array(int index) {
  SHARED_ARRAY(float, tile, 8);
  SHARED_ARRAY(float, other, 8);
  float* p = tile;  // not the array: its bounds would be known
  if (threadIdx.x == 0) p[index] = other[0] = 1;
}
__global__ void write_past_dynamic_memory() {
  DYNAMIC_SHARED(memory);
  memory[threadIdx.x] = 1;
}
__global__ void allocate_too_much() {
  DYNAMIC_SHARED(memory);
  SharedAllocator allocator{memory};
  allocator.take<float>(16)[0] = 0;
  allocator.take<float>(16)[0] = 0;
}
__global__ void much_static_memory() {
  SHARED_ARRAY(float, tile, 13 * 1024);
  tile[threadIdx.x] = 0;
}
__global__ void some_static_memory() {
  SHARED_ARRAY(float, tile, 1024);
  tile[threadIdx.x] = 0;
}
// Every block sees its own arrays, 128-byte aligned where they are dynamic.
__global__ void own_memory(float* out) {
  SHARED_ARRAY(float, tile, 32);
  DYNAMIC_SHARED(memory);
  SharedAllocator allocator{memory};
  float* first = allocator.take<float>(5);
  double* second = allocator.take<double>(32);
  tile[threadIdx.x] = float(blockIdx.x);
  if (threadIdx.x < 5) first[threadIdx.x] = 1;
  second[threadIdx.x] = 2;
  __syncthreads();
  const bool aligned = uintptr_t(memory) % 128 == 0 && uintptr_t(second) % 16 == 0;
  out[blockIdx.x * 32 + threadIdx.x] =
      tile[31 - threadIdx.x] + first[4] + float(second[31 - threadIdx.x]) + aligned;
}

bool poisoned() {
  float out[32] = {};
  runs(read_unwritten, blocks_of(1, 32), out);
  for (float value : out)
    if (value == value) return false;
  return true;
}
bool own() {
  float out[128];
  runs(own_memory, blocks_of(4, 32, tile_bytes<float>(5) + tile_bytes<double>(32)), out);
  for (int i = 0; i < 128; i++)
    if (out[i] != float(i / 32 + 4)) return false;
  return true;
}

// ---- copies -------------------------------------------------------------------------------------------

alignas(16) float source[64];

__global__ void copy(float* out, int from, int to, bool wait) {
  SHARED_ARRAY(float, tile, 64);
  for (int i = 0; i < 8; i++) tile[i] = 1;
  if (threadIdx.x == 0) {
    ptx::cp_async16(tile + to, source + from, true);
    ptx::cp_async_commit();
    ptx::cp_async16(tile + to + 4, nullptr, false);
    ptx::cp_async_commit();
    if (wait) ptx::cp_async_wait<0>();
    for (int i = 0; i < 8; i++) out[i] = tile[to + i];
  }
}
__global__ void copy_to_global(float* to) {
  ptx::cp_async16(to, source, true);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
}

bool copies(int from, int to, bool wait) {
  alignas(16) float out[8];
  for (int i = 0; i < 64; i++) source[i] = float(i + 1);
  if (!runs(copy, blocks_of(1, 1), out, from, to, wait)) return false;
  for (int i = 0; i < 4; i++)
    if (out[i] != source[from + i] || out[i + 4] != 0) return false;
  return true;
}

// ---- order, for the race detector ---------------------------------------------------------------------

template <bool kWait>
__global__ void reverse_block(float* out) {
  SHARED_ARRAY(float, tile, 64);
  tile[threadIdx.x] = float(threadIdx.x);
  if (kWait) __syncthreads();
  out[threadIdx.x] = tile[63 - threadIdx.x];
}
template <bool kWait>
__global__ void reverse_warp(float* out) {
  SHARED_ARRAY(float, tile, 32);
  tile[threadIdx.x] = float(threadIdx.x);
  if (kWait) __syncwarp();
  const int source_lane = __shfl_xor_sync(~0u, int(threadIdx.x), 31);  // a shuffle orders nothing
  out[threadIdx.x] = tile[source_lane];
}
__global__ void rewrite_too_early(float* out) {
  SHARED_ARRAY(float, tile, 64);
  for (int i = 0; i < 2; i++) {
    tile[threadIdx.x] = float(threadIdx.x);
    __syncthreads();
    out[threadIdx.x] = tile[63 - threadIdx.x];
  }
}
// Two blocks: the first tells the second.
struct Message {
  float value;
  unsigned flag;
};
template <bool kFence>
__global__ void fence_and_flag(Message* message, float* out) {
  if (blockIdx.x == 0) {
    message->value = 3;
    if (kFence) __threadfence();
    atomicExch(&message->flag, 1u);
  } else {
    while (atomicAdd(&message->flag, 0u) == 0) __nanosleep(10);
    if (kFence) __threadfence();
    *out = __ldcg(&message->value);
  }
}
template <bool kPlainLoad>
__global__ void overwrite_flag(Message* message, float* out) {
  if (blockIdx.x == 0) {
    message->value = 3;
    ptx::st_release(&message->flag, 1);
  } else {
    while (ptx::ld_acquire(&message->flag) == 0) {
    }
    *out = kPlainLoad ? message->value : __ldcg(&message->value);
  }
}
__global__ void same_element(float* out) { *out = float(threadIdx.x); }
__global__ void neighbouring_halves(__half* out) { out[threadIdx.x] = __float2half(1); }
__global__ void read_only_and_written(float* p) {
  const float before = __ldg(p + threadIdx.x);
  __syncthreads();
  p[threadIdx.x] = before + 1;
}

template <class Kernel>
bool into(Kernel kernel, unsigned threads) {
  float out[64] = {};
  return runs(kernel, blocks_of(1, threads), out);
}
template <class Kernel>
bool told(Kernel kernel) {
  Message message{};
  float out = 0;
  return runs(kernel, cooperative(2, 1), &message, &out) && out == 3;
}

const std::vector<Case> kCases = {
    {"unwritten_shared_memory", poisoned},
    {"own_memory", own},
    {"past_static_array", [] { return runs(write_past_static_array, blocks_of(1, 32), 8); }},
    {"past_dynamic_memory", [] { return runs(write_past_dynamic_memory, blocks_of(1, 32, 31)); }},
    {"allocates_too_much", [] { return runs(allocate_too_much, blocks_of(1, 32, 2 * 16 * sizeof(float))); }},
    {"dynamic_limit", [] { return runs(some_static_memory, blocks_of(1, 32, 227 * 1024 + 1)); }},
    {"static_limit", [] { return runs(much_static_memory, blocks_of(1, 32)); }},
    {"common_limit", [] { return runs(some_static_memory, blocks_of(1, 32, 227 * 1024)); }},
    {"copies", [] { return copies(4, 0, true); }},
    {"copy_from_misaligned", [] { return copies(5, 0, true); }},
    {"copy_to_misaligned", [] { return copies(4, 2, true); }},
    {"copy_not_waited_for", [] { return copies(4, 0, false); }},
    {"copy_to_global", [] { return runs(copy_to_global, blocks_of(1, 1), source); }},
    {"block_in_order", [] { return into(reverse_block<true>, 64); }},
    {"block_without_barrier", [] { return into(reverse_block<false>, 64); }},
    {"rewrite_too_early", [] { return into(rewrite_too_early, 64); }},
    {"warp_in_order", [] { return into(reverse_warp<true>, 32); }},
    {"shuffle_gives_no_order", [] { return into(reverse_warp<false>, 32); }},
    {"fence_gives_order", [] { return told(fence_and_flag<true>); }},
    {"no_fence", [] { return told(fence_and_flag<false>); }},
    {"release_gives_order", [] { return told(overwrite_flag<false>); }},
    {"plain_load_of_another_block", [] { return told(overwrite_flag<true>); }},
    {"same_element", [] { return into(same_element, 2); }},
    {"neighbouring_halves",
     [] {
       __half out[8];
       return runs(neighbouring_halves, blocks_of(1, 8), out);
     }},
    {"read_only_and_written", [] { return into(read_only_and_written, 32); }},
};

}  // namespace

int main() { return run_cases(kCases); }
