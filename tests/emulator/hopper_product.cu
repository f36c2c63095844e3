// A product of matrices as an attention kernel of compute capability 9.0a makes it: one thread loads tiles
// through a ring of buffers, a warpgroup multiplies them. A fault is one of the kinds in `Fault`.
#include "common/cuda/ptx90.h"

using namespace pyrnn;
using ptx::Major;

enum Fault {
  kNone,
  kNoWait,           // for the loaded tile
  kWrongParity,      //
  kNoExpectedBytes,  //
  kTooFewBytes,      //
  kTooManyBytes,     //
  kNoWaitForBuffer,  // before it is loaded again
  kEarlyRelease,     // of the buffer, before wgmma_wait
  kEarlyRead,        // of the sums
  kEarlyWrite,       //
  kNoCommit,         //
  kNoFence,          //
  kNoProductWait,    // at all
  kOneWarpLess,      //
  kNoInit,           //
  kNoInitFence,      //
  kOtherSwizzle,     // in the descriptor
  kWrongOffset,      // of k
  kWrongStride,      //
  kMisaligned,       // tile
};

constexpr int kRows = 64, kColumns = 128, kDepth = 64, kStages = 2;  // depth of a tile
constexpr int kTileA = kRows * kDepth * 2, kTileB = kColumns * kDepth * 2;

__device__ inline unsigned char* align_to_swizzle(unsigned char* p) {
  return p + (1024 - ptx::shared_address(p) % 1024) % 1024;
}

// At step k of 16 in a tile that lies in rows of 128 bytes, 64 elements each.
template <Major kMajor>
__device__ uint64_t descriptor_of(uint32_t tile, int k, uint32_t next_64) {
  return kMajor == Major::k ? ptx::wgmma_descriptor(tile + uint32_t(k) * 32, 1024)
                            : ptx::wgmma_descriptor(tile + uint32_t(k) * 2048, 1024, next_64);
}

// Element (row, k) of a lane's part of A, as in mma_m16n8k16.
__device__ inline void load_a(uint32_t (&a)[4], const unsigned char* tile, int k) {
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) % 128 / 32;
  for (int i = 0; i < 4; i++) {
    const int row = warp * 16 + lane / 4 + i % 2 * 8, column = k * 16 + lane % 4 * 2 + i / 2 * 8;
    const int at = row * 128 + column * 2;
    a[i] = *reinterpret_cast<const uint32_t*>(tile + (at ^ (at >> 7 & 7) << 4));
  }
}

template <class S, Major kA, Major kB, bool kRegisters, int kFault>
__device__ void multiply(float (&d)[kColumns / 2], const unsigned char* tile) {
  const uint32_t a = ptx::shared_address(tile), b = a + kTileA;
  uint32_t of_a[kDepth / 16][4];
#pragma unroll
  for (int k = 0; k < kDepth / 16 && kRegisters; k++) load_a(of_a[k], tile, k);
  ptx::wgmma_pin(d);
  if (kFault != kNoFence) ptx::wgmma_fence();
#pragma unroll
  for (int k = 0; k < kDepth / 16; k++) {
    uint64_t of_b = descriptor_of<kB>(b, k, kTileB / 2);
    if (kFault == kOtherSwizzle) of_b ^= uint64_t(3) << 62;
    if (kFault == kWrongOffset) of_b = descriptor_of<kB>(b + 16, k, kTileB / 2);
    if (kFault == kWrongStride) of_b ^= uint64_t(512 >> 4) << 32;
    if (kRegisters)
      ptx::wgmma<S, kColumns, kB>(d, of_a[k], of_b);
    else
      ptx::wgmma<S, kColumns, kA, kB>(d, descriptor_of<kA>(a, k, 0), of_b);
  }
  if (kFault != kNoCommit) ptx::wgmma_commit();
}

// out[64][128] = a b over `tiles` tiles of k. Threads 0 to 127 multiply, thread 128 loads. The tensors are of
// (features, rows, heads, batch); the last head of the last batch is taken.
template <class S, Major kA, Major kB, bool kRegisters = false, int kFault = kNone>
__global__ void __launch_bounds__(160)
    product(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, int tiles, float* out) {
  DYNAMIC_SHARED(dynamic);
  SHARED_ARRAY(uint64_t, full, kStages);
  SHARED_ARRAY(uint64_t, empty, kStages);
  unsigned char* ring = align_to_swizzle(dynamic) + (kFault == kMisaligned ? 64 : 0);
  const int thread = int(threadIdx.x);
  if (thread == 0) {
    for (int stage = 0; stage < kStages && kFault != kNoInit; stage++) {
      ptx::mbarrier_init(&full[stage], 1);
      ptx::mbarrier_init(&empty[stage], 128);
    }
    if (kFault != kNoInitFence) ptx::mbarrier_init_fence();
  }
  __syncthreads();
  if (thread >= 128) {
    for (int t = 0; t < tiles && thread == 128; t++) {
      unsigned char* tile = ring + t % kStages * (kTileA + kTileB);
      uint64_t* landed = &full[t % kStages];
      if (kFault != kNoWaitForBuffer) ptx::mbarrier_wait(&empty[t % kStages], unsigned(t / kStages + 1) % 2);
      const unsigned bytes =
          kTileA + (kFault == kTooFewBytes ? 0 : kTileB) + (kFault == kTooManyBytes ? 128 : 0);
      if (kFault == kNoExpectedBytes)
        ptx::mbarrier_arrive(landed);
      else
        ptx::mbarrier_arrive_expect_tx(landed, bytes);
      const int k = t * kDepth;
      ptx::tensor_load(tile, &a, kA == Major::k ? k : 0, kA == Major::k ? 0 : k, 1, 1, landed);
      if (kB == Major::k) {
        ptx::tensor_load(tile + kTileA, &b, k, 0, 1, 1, landed);
      } else {  // a box has 64 features
        ptx::tensor_load(tile + kTileA, &b, 0, k, 1, 1, landed);
        ptx::tensor_load(tile + kTileA + kTileB / 2, &b, 64, k, 1, 1, landed);
      }
    }
    return;
  }
  if (kFault == kOneWarpLess && thread >= 96) return;
  float d[kColumns / 2] = {}, early = 0.0f;
  for (int t = 0; t < tiles; t++) {
    const int stage = t % kStages;
    if (kFault != kNoWait)
      ptx::mbarrier_wait(&full[stage], unsigned(t / kStages + (kFault == kWrongParity)) % 2);
    multiply<S, kA, kB, kRegisters, kFault>(d, ring + stage * (kTileA + kTileB));
    if (kFault == kEarlyRelease) ptx::mbarrier_arrive(&empty[stage]);
    if (kFault == kEarlyRead) early = d[0];
    if (kFault == kEarlyWrite) d[0] = 0.0f;
    if (kFault != kNoProductWait) ptx::wgmma_wait<0>();
    ptx::wgmma_pin(d);
    if (kFault != kEarlyRelease) ptx::mbarrier_arrive(&empty[stage]);
  }
  const int row = thread / 32 * 16 + thread % 32 / 4;
  for (int i = 0; i < kColumns / 2; i++)
    out[(row + i / 2 % 2 * 8) * kColumns + i / 4 * 8 + thread % 4 * 2 + i % 2] =
        kFault == kEarlyRead ? early : d[i];
}

#ifndef PYRNN_EMULATE
#  define PYRNN_MAP const __grid_constant__ TensorMap
template __global__ void product<__half, Major::k, Major::k>(PYRNN_MAP, PYRNN_MAP, int, float*);
template __global__ void product<__nv_bfloat16, Major::mn, Major::mn>(PYRNN_MAP, PYRNN_MAP, int, float*);
template __global__ void product<__half, Major::k, Major::mn, true>(PYRNN_MAP, PYRNN_MAP, int, float*);
#endif
