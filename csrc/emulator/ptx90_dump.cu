// What the instructions of ptx90.h give. Operands lie in shared memory as numbers of their position, so a
// result tells which address the device read for each element.
#include "common/cuda/ptx90.h"

#include "emulator/ptx_dump_parts.h"

namespace pyrnn {
namespace {

using namespace dump;
using ptx::Major;

constexpr int kGroup = 128;            // threads of a warpgroup
constexpr uint32_t kTileA = 64 * 128;  // bytes: rows of A, or values of k, by 64 elements
constexpr size_t kShared = 1024 + kTileA + 256 * 128;

__device__ unsigned char* aligned(unsigned char* p) {
  return p + (1024 - ptx::shared_address(p) % 1024) % 1024;
}

template <class S, bool kExact>
__device__ void fill_operands(unsigned char* tile) {
  const uint32_t elements = uint32_t(kShared - 1024) / 2;
  for (uint32_t i = threadIdx.x; i < elements; i += kGroup)
    reinterpret_cast<S*>(tile)[i] = rounded<S>(kExact ? float(integer(i)) : real(i));
  ptx::proxy_fence();
  __syncthreads();
}

template <Major kMajor>
__device__ uint64_t operand(uint32_t tile, uint32_t step) {
  return kMajor == Major::k ? ptx::wgmma_descriptor(tile + step * 32, 1024)
                            : ptx::wgmma_descriptor(tile + step * 2048, 1024, 4096);
}

// d of two products, the second of which adds; A from registers where kRegisters.
template <class S, int N, Major kA, Major kB, bool kRegisters, bool kExact>
__device__ void multiply(float (&d)[N / 2], unsigned char* tile) {
  fill_operands<S, kExact>(tile);
  const uint32_t a = ptx::shared_address(tile), b = a + kTileA;
  uint32_t of_a[2][4];
  for (uint32_t i = 0; i < 8; i++) {
    const uint32_t at = (threadIdx.x * 8 + i) * 2;
    of_a[i / 4][i % 4] = pair_of<S>(float(integer(at)), float(integer(at + 1)));
  }
  for (float& sum : d) sum = 1000.0f;  // which the first product forgets
  ptx::wgmma_pin(d);
  ptx::wgmma_fence();
#pragma unroll
  for (uint32_t step = 0; step < 2; step++) {
    const uint64_t of_b = operand<kB>(b, step);
    if (kRegisters)
      ptx::wgmma<S, N, kB>(d, of_a[step], of_b, step != 0);
    else
      ptx::wgmma<S, N, kA, kB>(d, operand<kA>(a, step), of_b, step != 0);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::wgmma_pin(d);
}

// out[128]: a sum of each thread's elements, with weights that tell them apart.
template <class S, int N, Major kA, Major kB, bool kRegisters>
__global__ void __launch_bounds__(kGroup) dump_product(float* out) {
  DYNAMIC_SHARED(dynamic);
  float d[N / 2], sum = 0.0f;
  multiply<S, N, kA, kB, kRegisters, true>(d, aligned(dynamic));
#pragma unroll
  for (int i = 0; i < N / 2; i++) sum += float(i % 31 + 1) * d[i];
  out[threadIdx.x] = sum;
}

// out[128][4]: real numbers, so also how a device rounds.
template <class S>
__global__ void __launch_bounds__(kGroup) dump_real_product(float* out) {
  DYNAMIC_SHARED(dynamic);
  float d[32];
  multiply<S, 64, Major::k, Major::k, false, false>(d, aligned(dynamic));
#pragma unroll
  for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = d[i * 9];
}

// out[8 rows][64]: a box that begins before the first row and ends behind the last feature, as it lies in
// memory.
__global__ void dump_tensor_copy(const __grid_constant__ TensorMap map, float* out) {
  DYNAMIC_SHARED(dynamic);
  SHARED_ARRAY(uint64_t, landed, 1);
  unsigned char* tile = aligned(dynamic);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(landed, 1);
    ptx::mbarrier_init_fence();
    ptx::mbarrier_arrive_expect_tx(landed, 8 * 128);
    ptx::tensor_load(tile, &map, 16, -2, 1, 1, landed);
  }
  __syncthreads();
  ptx::mbarrier_wait(landed, 0);
  for (uint32_t i = threadIdx.x; i < 512; i += 32) out[i] = widened(reinterpret_cast<const __half*>(tile)[i]);
}

__global__ void fill_tensor(__half* tensor, int n) {
  for (int i = int(threadIdx.x); i < n; i += 32) tensor[i] = rounded<__half>(float(i + 1));
}

// out[8]: what lane 0 hears of both parities before, between and after two arrivals.
__global__ void dump_mbarrier(float* out) {
  SHARED_ARRAY(uint64_t, barrier, 1);
  if (threadIdx.x != 0) return;
  ptx::mbarrier_init(barrier, 2);
  for (uint32_t i = 0; i < 4; i++) {
    out[2 * i] = float(ptx::mbarrier_try_wait(barrier, 0));
    out[2 * i + 1] = float(ptx::mbarrier_try_wait(barrier, 1));
    if (i < 3) ptx::mbarrier_arrive(barrier);
  }
}

// out[128]: warps 0 and 1 only arrive. Then, by warpgroups, registers change hands.
__global__ void __launch_bounds__(3 * kGroup, 1) dump_warpgroups(float* out) {
  SHARED_ARRAY(float, numbers, 64);
  const int i = int(threadIdx.x), group = i / kGroup;
  if (i < 64) {
    numbers[i] = real(uint32_t(i));
    ptx::named_barrier_arrive(5, kGroup);
  } else if (i < kGroup) {
    ptx::named_barrier_sync(5, kGroup);
    out[i] = numbers[kGroup - 1 - i];
  }
  if (group == 2) {
    ptx::release_registers<24>();
  } else {
    ptx::claim_registers<240>();
    if (i >= kGroup && i < kGroup + 64) out[i - kGroup] = float(group);
  }
}

const LaunchShape kOneGroup{dim3(1), dim3(kGroup), kShared, false, 0};

PtxSection part(const char* name, bool exact, int values, const LaunchShape& shape, void (*kernel)(float*)) {
  return section(name, exact, values,
                 [=](float* out) { return launch(name, kernel, shape, cudaStream_t(nullptr), out); });
}

cudaError_t copy_tensor(float* out) {
  constexpr uint64_t kFeatures = 72, kRows = 6, kHeads = 2, kBatch = 2, kRow = kHeads * kFeatures * 2;
  const int count = int(kFeatures * kRows * kHeads * kBatch);
  const LaunchShape one_warp{dim3(1), dim3(32), 0, false, 0}, with_tile{dim3(1), dim3(32), 2048, false, 0};
  Memory tensor(size_t(count) * 2);
  check(launch("fill", fill_tensor, one_warp, cudaStream_t(nullptr), tensor.as<__half>(), count));
  const TensorMap map = tensor_map({tensor.as<__half>(),
                                    {kFeatures, kRows, kHeads, kBatch},
                                    {kRow, kFeatures * 2, kRow * kRows},
                                    {64, 8, 1, 1},
                                    Swizzle::bytes128});
  check(launch("tensor_copy", dump_tensor_copy, with_tile, cudaStream_t(nullptr), map, out));
  return cudaStreamSynchronize(nullptr);
}

}  // namespace

std::vector<PtxSection> ptx90_dump(int device) {
  const LaunchShape one_warp{dim3(1), dim3(32), 0, false, 0}, groups{dim3(1), dim3(3 * kGroup), 0, false, 0};
  if (device_properties(device).major != 9) {
    std::vector<PtxSection> none;
    for (const char* name :
         {"tensor_copy", "mbarrier", "warpgroups", "wgmma_64", "wgmma_80", "wgmma_96", "wgmma_128",
          "wgmma_256", "wgmma_mn_k", "wgmma_mn_mn", "wgmma_registers_k", "wgmma_registers_mn"})
      none.push_back({name, true, {}});
    for (const char* name : {"wgmma_bf16", "wgmma_f16"}) none.push_back({name, false, {}});
    return none;
  }
  constexpr Major k = Major::k, mn = Major::mn;
  using B = __nv_bfloat16;
  using H = __half;
  return {
      section("tensor_copy", true, 512, copy_tensor),
      part("mbarrier", true, 8, one_warp, dump_mbarrier),
      part("warpgroups", true, 128, groups, dump_warpgroups),
      part("wgmma_64", true, 128, kOneGroup, dump_product<H, 64, k, k, false>),
      part("wgmma_80", true, 128, kOneGroup, dump_product<B, 80, k, k, false>),
      part("wgmma_96", true, 128, kOneGroup, dump_product<H, 96, k, mn, false>),
      part("wgmma_128", true, 128, kOneGroup, dump_product<B, 128, k, mn, false>),
      part("wgmma_256", true, 128, kOneGroup, dump_product<B, 256, k, k, false>),
      part("wgmma_mn_k", true, 128, kOneGroup, dump_product<B, 64, mn, k, false>),
      part("wgmma_mn_mn", true, 128, kOneGroup, dump_product<H, 256, mn, mn, false>),
      part("wgmma_registers_k", true, 128, kOneGroup, dump_product<H, 128, k, k, true>),
      part("wgmma_registers_mn", true, 128, kOneGroup, dump_product<B, 256, k, mn, true>),
      part("wgmma_bf16", false, 512, kOneGroup, dump_real_product<B>),
      part("wgmma_f16", false, 512, kOneGroup, dump_real_product<H>),
  };
}

}  // namespace pyrnn
