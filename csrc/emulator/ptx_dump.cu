#include "emulator/ptx_dump.h"

#include <stdexcept>

#include "common/cuda/ptx.h"
#include "emulator/ptx_dump_parts.h"

namespace pyrnn {
namespace {

using namespace dump;

// ---- kernels: one warp each, unless they say otherwise ------------------------------------------------

// out[4 products][32 lanes][4]
template <class S, bool kExact>
__global__ void dump_mma(float* out) {
  for (uint32_t product = 0; product < 4; product++) {
    uint32_t next = (product * 32 + threadIdx.x) * 16, a[4], b[2];
    auto number = [&next] { return kExact ? float(integer(next++)) : real(next++); };
    float d[4];
    for (uint32_t& pair : a) {
      const float low = number();
      pair = pair_of<S>(low, number());
    }
    for (uint32_t& pair : b) {
      const float low = number();
      pair = pair_of<S>(low, number());
    }
    for (float& value : d) value = number();
    ptx::mma_m16n8k16(d, a, b, S());
    for (int i = 0; i < 4; i++) out[(product * 32 + threadIdx.x) * 4 + i] = d[i];
  }
}

// out[as they lie, transposed][32 lanes][4 matrices][2]
__global__ void dump_load_matrix(float* out) {
  SHARED_ARRAY(uint4, rows, 32);
  const uint32_t i = threadIdx.x;
  auto pair = [&](uint32_t n) { return pair_of<__half>(float(i * 8 + n), float(i * 8 + n + 1)); };
  rows[i] = make_uint4(pair(0), pair(2), pair(4), pair(6));
  __syncthreads();
  uint32_t d[4], transposed[4];
  ptx::ldmatrix_x4(d, &rows[i]);
  ptx::ldmatrix_x4_trans(transposed, &rows[i]);
  for (uint32_t n = 0; n < 8; n++) {
    const unsigned short straight = static_cast<unsigned short>(d[n / 2] >> n % 2 * 16),
                         across = static_cast<unsigned short>(transposed[n / 2] >> n % 2 * 16);
    out[i * 8 + n] = widened(__ushort_as_half(straight));
    out[(i + 32) * 8 + n] = widened(__ushort_as_half(across));
  }
}

// Round to the storage type and back: random bits, so also subnormal numbers, infinities and NaN.
template <class S>
__global__ void dump_rounding(float* out) {
  const uint32_t bits = hash(threadIdx.x + 1000);
  out[threadIdx.x] = widened(rounded<S>(__uint_as_float(bits)));
  // Halfway between two numbers of either type, and a little off.
  out[threadIdx.x + 32] = widened(rounded<S>(1.0f + float(threadIdx.x) / 4096.0f));
  out[threadIdx.x + 64] = widened(rounded<S>(1.0f + float(threadIdx.x) / 512.0f));
  out[threadIdx.x + 96] = widened(rounded<S>(ldexpf(real(threadIdx.x), -int(threadIdx.x) - 8)));
}

__global__ void dump_functions(float* out) {
  const float x = 4.0f * real(threadIdx.x);
  out[threadIdx.x] = expf(x);
  out[threadIdx.x + 32] = __expf(x);
  out[threadIdx.x + 64] = tanhf(x);
  out[threadIdx.x + 96] = __fdividef(x, 1.5f + real(threadIdx.x + 32));
  out[threadIdx.x + 128] = ptx::exp2_approx(8.0f * x);
}

__global__ void dump_shuffles(float* out) {
  const float x = float(threadIdx.x);
  out[threadIdx.x] = __shfl_xor_sync(~0u, x, 5);
  out[threadIdx.x + 32] = __shfl_xor_sync(~0u, x, 8, 16);
  out[threadIdx.x + 64] = __shfl_xor_sync(~0u, x, 16, 16);
  out[threadIdx.x + 96] = __shfl_down_sync(~0u, x, 3);
  out[threadIdx.x + 128] = __shfl_down_sync(~0u, x, 5, 8);
  out[threadIdx.x + 160] = __shfl_sync(~0u, x, 37);
  out[threadIdx.x + 192] = __shfl_sync(~0u, x, int(threadIdx.x) * 3, 8);
  out[threadIdx.x + 224] = float(__ballot_sync(~0u, hash(threadIdx.x) & 1) >> 8);
}

// Every third copy is not valid; the newest group is waited for last.
__global__ void dump_copies(float* out, const float* in) {
  SHARED_ARRAY(float4, tile, 64);
  const int i = threadIdx.x;
  tile[i] = tile[i + 32] = make_float4(-1.0f, -1.0f, -1.0f, -1.0f);
  __syncthreads();
  ptx::cp_async16(&tile[i], in + i * 4, i % 3 != 0);
  ptx::cp_async_commit();
  ptx::cp_async16(&tile[i + 32], in + (i + 32) * 4, i % 3 != 1);
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();
  reinterpret_cast<float4*>(out)[i] = tile[i];
  ptx::cp_async_wait<0>();
  reinterpret_cast<float4*>(out)[i + 32] = tile[i + 32];
}

// Two blocks, cooperative. Block 0 writes and raises a flag, block 1 waits, answers and raises its own.
__global__ void dump_flags(float* out, unsigned* flags) {
  const int i = threadIdx.x;
  if (blockIdx.x == 0) out[i] = real(uint32_t(i));
  __syncthreads();
  if (blockIdx.x == 0 && i == 0) ptx::st_release(flags, 7);
  if (blockIdx.x == 1) {
    while (ptx::ld_acquire(flags) != 7) {
    }
    out[i + 32] = 2.0f * __ldcg(out + i);
    ptx::red_add_release(flags + 1, unsigned(i));
  } else {
    while (ptx::ld_acquire(flags + 1) != 31 * 32 / 2) {
    }
    out[i + 64] = 2.0f * __ldcg(out + i + 32);
  }
}

// A cluster of four blocks: rank, size, and what the next block wrote into its shared memory.
__global__ void dump_cluster(float* out) {
  SHARED_ARRAY(float, mine, 32);
  const unsigned rank = ptx::cluster_rank(), size = ptx::cluster_size();
  mine[threadIdx.x] = real(rank * 32 + threadIdx.x);
  ptx::cluster_arrive_release();
  ptx::cluster_wait_acquire();
  const float* next = ptx::map_shared_rank(&mine[0], (rank + 1) % size);
  float* own = out + blockIdx.x * 96;
  own[threadIdx.x] = float(rank);
  own[threadIdx.x + 32] = float(size);
  own[threadIdx.x + 64] = next[threadIdx.x];
  ptx::cluster_arrive_release();  // nobody leaves while a neighbour reads
  ptx::cluster_wait_acquire();
}

__global__ void fill(float* in, int n) {
  for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) in[i] = real(uint32_t(i));
}

// ---- launches -------------------------------------------------------------------------------------------

constexpr int kInputs = 256;
const LaunchShape kOneWarp{dim3(1), dim3(32), 0, false, 0};

PtxSection warp_section(const char* name, bool exact, int values, void (*kernel)(float*)) {
  return section(name, exact, values,
                 [=](float* out) { return launch(name, kernel, kOneWarp, cudaStream_t(nullptr), out); });
}

}  // namespace

std::vector<PtxSection> ptx_dump(int device) {
  check(cudaSetDevice(device));
  std::vector<PtxSection> all;
  all.push_back(warp_section("mma_bf16_integers", true, 512, dump_mma<__nv_bfloat16, true>));
  all.push_back(warp_section("mma_f16_integers", true, 512, dump_mma<__half, true>));
  all.push_back(warp_section("mma_bf16", false, 512, dump_mma<__nv_bfloat16, false>));
  all.push_back(warp_section("mma_f16", false, 512, dump_mma<__half, false>));
  all.push_back(warp_section("round_bf16", true, 128, dump_rounding<__nv_bfloat16>));
  all.push_back(warp_section("round_f16", true, 128, dump_rounding<__half>));
  all.push_back(warp_section("functions", false, 160, dump_functions));
  all.push_back(warp_section("load_matrix", true, 512, dump_load_matrix));
  all.push_back(warp_section("shuffles", true, 256, dump_shuffles));
  all.push_back(section("copies", true, kInputs, [](float* out) {
    Memory in(kInputs * sizeof(float));
    check(launch("fill", fill, kOneWarp, cudaStream_t(nullptr), in.as<float>(), kInputs));
    check(launch("copies", dump_copies, kOneWarp, cudaStream_t(nullptr), out, in.as<float>()));
    return cudaStreamSynchronize(nullptr);
  }));
  all.push_back(section("flags", true, 96, [](float* out) {
    Memory flags(2 * sizeof(unsigned));
    const LaunchShape shape{dim3(2), dim3(32), 0, true, 0};
    check(launch("flags", dump_flags, shape, cudaStream_t(nullptr), out, flags.as<unsigned>()));
    return cudaStreamSynchronize(nullptr);
  }));
  if (device_properties(device).major >= 9)
    all.push_back(section("cluster", true, 384, [](float* out) {
      const LaunchShape shape{dim3(4), dim3(32), 0, false, 4};
      return launch("cluster", dump_cluster, shape, cudaStream_t(nullptr), out);
    }));
  else
    all.push_back({"cluster", true, {}});
  for (PtxSection& section : ptx90_dump(device)) all.push_back(std::move(section));
  return all;
}

}  // namespace pyrnn

extern "C" int pyrnn_ptx_dump(float* out, int n, int device) {
  try {
    int count = 0;
    for (const pyrnn::PtxSection& section : pyrnn::ptx_dump(device))
      for (float value : section.values) {
        if (out && count < n) out[count] = value;
        count++;
      }
    return count;
  } catch (const std::exception&) {
    return -1;
  }
}
