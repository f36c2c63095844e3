// Barriers in shared memory, copies of tensors, products of warpgroups: what is right, and every fault.
#include "hopper_product.cu"

#include "cases.h"

namespace {

// ---- the product of hopper_product.cu, against a plain loop -------------------------------------------

constexpr size_t kSharedBytes = kStages * (kTileA + kTileB) + 1024;
// Sizes that no box divides: what is outside of the tensor is zero.
constexpr int kM = 56, kN = 120, kHeads = 2, kBatch = 2;

template <class S>
S rounded(float x);
template <>
__half rounded(float x) {
  return __float2half_rn(x);
}
template <>
__nv_bfloat16 rounded(float x) {
  return __float2bfloat16_rn(x);
}

float number(int i) { return float((i * 37 + i / 5) % 13 - 6); }  // products and sums of these are exact

// One operand: `extent` rows of A or columns of B by `depth`, in the last head of the last batch.
template <class S, Major kMajor>
struct Matrix {
  int extent, depth;
  std::vector<S> values;
  Matrix(int extent, int depth)
      : extent(extent), depth(depth), values(size_t(kBatch * kHeads * extent * depth)) {
    for (size_t i = 0; i < values.size(); i++) values[i] = rounded<S>(number(int(i)));
  }
  int features() const { return kMajor == Major::k ? depth : extent; }
  int rows() const { return kMajor == Major::k ? extent : depth; }
  float at(int i, int k) const {
    const int feature = kMajor == Major::k ? k : i, row = kMajor == Major::k ? i : k;
    return float(values[size_t(((rows() + row) * kHeads + 1) * features() + feature)]);
  }
  TensorMap map(uint32_t box_rows, Swizzle swizzle = Swizzle::bytes128) const {
    const uint64_t row = uint64_t(kHeads * features() * 2);
    return tensor_map({values.data(),
                       {uint64_t(features()), uint64_t(rows()), kHeads, kBatch},
                       {row, uint64_t(features() * 2), row * uint64_t(rows())},
                       {64, box_rows, 1, 1},
                       swizzle});
  }
};

template <class S, Major kA, Major kB, bool kRegisters = false, int kFault = kNone>
bool product_is_right(int tiles, Swizzle swizzle = Swizzle::bytes128) {
  const int depth = tiles * kDepth - 8;
  const Matrix<S, kA> a(kM, depth);
  const Matrix<S, kB> b(kN, depth);
  std::vector<float> out(kRows * kColumns);
  runs(product<S, kA, kB, kRegisters, kFault>, blocks_of(1, 160, kSharedBytes), a.map(64, swizzle),
       b.map(kB == Major::k ? kColumns : 64, swizzle), tiles, out.data());
  bool right = true;
  for (int i = 0; i < kRows; i++)
    for (int j = 0; j < kColumns; j++) {
      float sum = 0;
      for (int k = 0; k < depth && i < kM && j < kN; k++) sum += a.at(i, k) * b.at(j, k);
      right &= out[size_t(i * kColumns + j)] == sum;
    }
  return right;
}

template <int kFault, int kTiles = 3>
bool with_fault() {
  return product_is_right<__nv_bfloat16, Major::k, Major::mn, false, kFault>(kTiles);
}

// ---- operands that threads wrote -----------------------------------------------------------------------

template <bool kFence, bool kOverwrite>
__global__ void product_of_written(float* out) {
  DYNAMIC_SHARED(dynamic);
  unsigned char* tile = align_to_swizzle(dynamic);
  auto values = reinterpret_cast<__half*>(tile);
  const int thread = int(threadIdx.x), ones = (kTileA + kTileB) / 2;
  for (int i = thread; i < ones; i += 128) values[i] = rounded<__half>(1.0f);
  if (kFence) ptx::proxy_fence();
  __syncthreads();
  float d[kColumns / 2] = {};
  multiply<__half, Major::k, Major::k, false, kNone>(d, tile);
  if (kOverwrite) values[thread] = rounded<__half>(2.0f);
  ptx::wgmma_wait<0>();
  for (int i = 0; i < kColumns / 2; i++) out[thread * kColumns / 2 + i] = d[i];
}

template <bool kFence, bool kOverwrite>
bool written_is_right() {
  std::vector<float> out(kRows * kColumns);
  runs(product_of_written<kFence, kOverwrite>, blocks_of(1, 128, kSharedBytes), out.data());
  for (float value : out)
    if (value != float(kDepth)) return false;
  return true;
}

// Two products into each of two groups: the older is read while the newer is in flight.
__global__ void products_in_groups(float* out) {
  DYNAMIC_SHARED(dynamic);
  unsigned char* tile = align_to_swizzle(dynamic);
  for (int i = int(threadIdx.x); i < (kTileA + kTileB) / 2; i += 128)
    reinterpret_cast<__half*>(tile)[i] = rounded<__half>(1.0f);
  ptx::proxy_fence();
  __syncthreads();
  float first[kColumns / 2] = {}, second[kColumns / 2] = {};
  multiply<__half, Major::k, Major::k, false, kNone>(first, tile);
  multiply<__half, Major::k, Major::k, true, kNone>(second, tile);
  ptx::wgmma_wait<1>();
  out[threadIdx.x] = first[63];
  ptx::wgmma_wait<0>();
  out[threadIdx.x + 128] = second[63];
}

bool groups_are_right() {
  float out[256];
  runs(products_in_groups, blocks_of(1, 128, kSharedBytes), out);
  for (float value : out)
    if (value != float(kDepth)) return false;
  return true;
}

// ---- barriers in shared memory ---------------------------------------------------------------------------

enum BarrierFault {
  kTwoBehind,
  kWrittenOver,
  kInitTwice,
  kNeverComes,
  kTooManyArrivals,
  kPolled,
  kOtherParity
};

template <int kFault>
__global__ void barrier_faults(unsigned* out) {
  SHARED_ARRAY(uint64_t, barrier, 1);
  const int thread = int(threadIdx.x);
  if (thread == 0) {
    ptx::mbarrier_init(barrier, 32);
    if (kFault == kInitTwice) ptx::mbarrier_init(barrier, 32);
    ptx::mbarrier_init_fence();
    if (kFault == kWrittenOver) barrier[0] = 0;
  }
  __syncthreads();
  if (kFault == kNeverComes && thread == 5) return;
  if (kFault == kTooManyArrivals && thread == 0) ptx::mbarrier_arrive_expect_tx(barrier, 16);
  ptx::mbarrier_arrive(barrier);
  if (kFault == kPolled)
    while (!ptx::mbarrier_try_wait(barrier, 0)) {
    }
  else
    ptx::mbarrier_wait(barrier, kFault == kOtherParity ? 2 : 0);
  for (unsigned phase = 1; phase < 4; phase++) {
    ptx::mbarrier_arrive(barrier);
    if (kFault != kTwoBehind || thread != 7 || phase != 2) ptx::mbarrier_wait(barrier, phase % 2);
    if (kFault == kTwoBehind) __syncthreads();
  }
  if (kFault == kTwoBehind) ptx::mbarrier_wait(barrier, thread == 7 ? 0 : 1);
  out[thread] = 1;
}

template <int kFault>
bool barrier_runs() {
  unsigned out[32] = {};
  runs(barrier_faults<kFault>, blocks_of(1, 32), out);
  return out[31] == 1;
}

// ---- named barriers, registers ------------------------------------------------------------------------

// Warps 0 and 1 write and arrive, warps 2 and 3 wait and read.
__global__ void hand_over(int* out, int written, int awaited, int id) {
  SHARED_ARRAY(int, numbers, 64);
  const int thread = int(threadIdx.x);
  if (thread < 64) {
    numbers[thread] = thread;
    ptx::named_barrier_arrive(id, written);
  } else {
    ptx::named_barrier_sync(id, awaited);
    out[thread - 64] = numbers[127 - thread];
  }
}

__global__ void half_a_block_waits() {
  if (threadIdx.x < 64) ptx::named_barrier_sync(3, 128);
}

bool hands_over(int written, int awaited, int id) {
  int out[64];
  runs(hand_over, blocks_of(1, 128), out, written, awaited, id);
  for (int i = 0; i < 64; i++)
    if (out[i] != 63 - i) return false;
  return true;
}

// Three warpgroups; those from `from` on give back, the others ask for more.
template <int kMore>
__global__ void share_registers(int from, int warps) {
  const int warp = int(threadIdx.x) / 32;
  if (warp >= 4 * from && warp < 4 * from + warps) ptx::release_registers<24>();
  if (warp < 4 * from) ptx::claim_registers<kMore>();
}

const std::vector<Case> kCases = {
    {"product_k_k", [] { return product_is_right<__half, Major::k, Major::k>(1); }},
    {"product_k_mn", [] { return product_is_right<__nv_bfloat16, Major::k, Major::mn>(5); }},
    {"product_mn_k", [] { return product_is_right<__half, Major::mn, Major::k>(2); }},
    {"product_mn_mn", [] { return product_is_right<__nv_bfloat16, Major::mn, Major::mn>(3); }},
    {"product_registers_k", [] { return product_is_right<__nv_bfloat16, Major::k, Major::k, true>(2); }},
    {"product_registers_mn", [] { return product_is_right<__half, Major::k, Major::mn, true>(3); }},
    {"no_wait", with_fault<kNoWait, 1>},
    {"wrong_parity", with_fault<kWrongParity, 1>},
    {"no_expected_bytes", with_fault<kNoExpectedBytes>},
    {"too_few_bytes", with_fault<kTooFewBytes>},
    {"too_many_bytes", with_fault<kTooManyBytes>},
    {"no_wait_for_buffer", with_fault<kNoWaitForBuffer>},
    {"early_release", with_fault<kEarlyRelease>},
    {"early_read", with_fault<kEarlyRead>},
    {"early_write", with_fault<kEarlyWrite>},
    {"no_commit", with_fault<kNoCommit>},
    {"no_fence", with_fault<kNoFence>},
    {"no_product_wait", with_fault<kNoProductWait>},
    {"one_warp_less", with_fault<kOneWarpLess>},
    {"no_init", with_fault<kNoInit>},
    {"no_init_fence", with_fault<kNoInitFence>},
    {"other_swizzle", with_fault<kOtherSwizzle>},
    {"map_without_swizzle", [] { return product_is_right<__half, Major::k, Major::k>(1, Swizzle::none); }},
    {"wrong_offset", [] { return product_is_right<__half, Major::k, Major::k, false, kWrongOffset>(1); }},
    {"wrong_stride", with_fault<kWrongStride>},
    {"misaligned_tile", with_fault<kMisaligned>},
    {"written_operands", written_is_right<true, false>},
    {"no_proxy_fence", written_is_right<false, false>},
    {"overwritten_operands", written_is_right<true, true>},
    {"groups", groups_are_right},
    {"two_phases_behind", barrier_runs<kTwoBehind>},
    {"barrier_written_over", barrier_runs<kWrittenOver>},
    {"barrier_twice", barrier_runs<kInitTwice>},
    {"phase_never_comes", barrier_runs<kNeverComes>},
    {"too_many_arrivals", barrier_runs<kTooManyArrivals>},
    {"polled_barrier", barrier_runs<kPolled>},
    {"no_parity", barrier_runs<kOtherParity>},
    {"narrow_box",
     [] {
       tensor_map({nullptr, {64, 64, 1, 1}, {128, 8192, 8192}, {32, 64, 1, 1}, Swizzle::bytes128});
       return true;
     }},
    {"odd_stride",
     [] {
       tensor_map({nullptr, {60, 64, 1, 1}, {120, 8192, 8192}, {64, 64, 1, 1}, Swizzle::bytes128});
       return true;
     }},
    {"hand_over", [] { return hands_over(128, 128, 3); }},
    {"barrier_of_other_count", [] { return hands_over(128, 96, 3); }},
    {"barrier_of_too_few", [] { return hands_over(64, 64, 3); }},
    {"barrier_lacks_threads", [] { return runs(half_a_block_waits, blocks_of(1, 128)); }},
    {"barrier_beyond_block", [] { return hands_over(160, 160, 3); }},
    {"barrier_zero", [] { return hands_over(128, 128, 0); }},
    {"registers", [] { return runs(share_registers<240>, blocks_of(1, 384), 2, 4); }},
    {"too_many_registers", [] { return runs(share_registers<256>, blocks_of(1, 384), 2, 4); }},
    {"registers_of_half_a_group", [] { return runs(share_registers<168>, blocks_of(1, 384), 2, 2); }},
};

}  // namespace

int main(int argc, char** argv) { return run_cases(kCases, {argv + 1, argv + argc}); }
