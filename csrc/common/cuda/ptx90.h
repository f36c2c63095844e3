// Instructions that exist from compute capability 9.0 on, most of them as 9.0a alone: barriers in shared
// memory, copies of tensors, products of a warpgroup. Sections are named as in the PTX ISA. Host emulations:
// ptx90_host.h.
#pragma once
#include "common/cuda/ptx.h"
#include "common/cuda/tensor_map.h"

namespace pyrnn {
namespace ptx {

// How the 16-bit elements of a product's operand lie: k contiguous, or rows of A (columns of B) contiguous.
enum class Major { k = 0, mn = 1 };

// "Matrix Descriptor Format" of wgmma, with the 128-byte swizzle. `address` is a shared_address whose bits 7
// to 9 are 0: the pattern repeats every 1024 bytes, and this base offset, 0, says that it begins at a
// multiple.
//   k contiguous: 8 rows of 128 bytes lie together, the next 8 `stride` bytes further; k starts at byte
//     address % 128 of a row. `leading` has no meaning.
//   mn contiguous: 64 elements of 8 values of k lie together, the next 8 values of k `stride` bytes further,
//     the next 64 elements `leading` bytes further.
__host__ __device__ constexpr uint64_t wgmma_descriptor(uint32_t address, uint32_t stride,
                                                        uint32_t leading = 16) {
  return uint64_t(address >> 4 & 0x3fff) | uint64_t(leading >> 4 & 0x3fff) << 16 |
         uint64_t(stride >> 4 & 0x3fff) << 32 | uint64_t(1) << 62;
}

}  // namespace ptx
}  // namespace pyrnn

#ifdef PYRNN_EMULATE
#  include "emulator/ptx90_host.h"
#else

#  ifdef __CUDA_ARCH_FEAT_SM90_ALL
#    define PYRNN_ASM90(...) asm volatile(__VA_ARGS__)
#  else
#    define PYRNN_ASM90(...) trap()
#  endif

#  include "common/cuda/wgmma.h"

namespace pyrnn {
namespace ptx {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// ---- "Parallel Synchronization and Communication Instructions: mbarrier" ----------------------------

// A phase is complete after `count` arrivals and as many bytes as they said to expect.
__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, unsigned count) {
  PYRNN_ASM90("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
              "r"(count) : "memory");
}
// Shows the barriers that this thread has made to the copy engine. Other threads need a __syncthreads.
__device__ __forceinline__ void mbarrier_init_fence() {
  PYRNN_ASM90("fence.mbarrier_init.release.cluster;" :: : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
  PYRNN_ASM90("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expect_tx(uint64_t* barrier, unsigned bytes) {
  PYRNN_ASM90("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
              "r"(bytes) : "memory");
}
// Whether the newest phase of this parity is complete; phases count from 0, and the one before it is
// complete. May come back late, not only at once.
__device__ __forceinline__ bool mbarrier_try_wait(uint64_t* barrier, unsigned parity) {
  uint32_t complete = 0;
  PYRNN_ASM90(
      "{\n"
      ".reg .pred complete;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2;\n"
      "selp.u32 %0, 1, 0, complete;\n"
      "}" : "=r"(complete) : "r"(shared_address(barrier)),
      "r"(parity) : "memory");
  return complete != 0;
}
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, unsigned parity) {
  while (!mbarrier_try_wait(barrier, parity)) {
  }
}

// ---- "Data Movement and Conversion Instructions: cp.async.bulk.tensor" ------------------------------

// One thread loads the box whose first element has these coordinates, by dimension. Elements outside of the
// tensor are zeros, and their bytes count, too. Shared addresses are multiples of 128.
__device__ __forceinline__ void tensor_load(void* shared, const TensorMap* map, int c0, int c1, int c2,
                                            int c3, uint64_t* barrier) {
  PYRNN_ASM90(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(shared_address(shared)),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(shared_address(barrier)) : "memory");
}

// Shows this thread's writes to shared memory to wgmma and to the copy engine ("Async proxy"). Comes before
// the barrier behind which another thread starts them.
__device__ __forceinline__ void proxy_fence() { PYRNN_ASM90("fence.proxy.async.shared::cta;" :: : "memory"); }

// ---- "Asynchronous Warpgroup Level Matrix Instructions": the products are in wgmma.h ---------------------

// Before the first product, and again after registers of products were read or written.
__device__ __forceinline__ void wgmma_fence() { PYRNN_ASM90("wgmma.fence.sync.aligned;" :: : "memory"); }
__device__ __forceinline__ void wgmma_commit() {
  PYRNN_ASM90("wgmma.commit_group.sync.aligned;" :: : "memory");
}
// The products of this warp are done, but for those of its N newest groups.
template <int N>
__device__ __forceinline__ void wgmma_wait() {
  PYRNN_ASM90("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// The compiler moves no use of these sums to the other side: fences and waits name memory, not registers.
template <int R>
__device__ __forceinline__ void wgmma_pin(float (&d)[R]) {
#  pragma unroll
  for (int i = 0; i < R; i++) PYRNN_ASM90("" : "+f"(d[i])::"memory");
}

// ---- "setmaxnreg": registers of each thread, by whole warpgroups ---------------------------------------

template <int kRegisters>
__device__ __forceinline__ void release_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256, "no such number of registers");
  PYRNN_ASM90("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
// Waits until others have released enough.
template <int kRegisters>
__device__ __forceinline__ void claim_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256, "no such number of registers");
  PYRNN_ASM90("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- "bar": barriers 1 to 15 of a block; 0 is that of __syncthreads ------------------------------------

// Whole warps arrive; `threads` counts all that take part, whether they wait or only arrive.
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace ptx
}  // namespace pyrnn
#  undef PYRNN_ASM90
#endif
