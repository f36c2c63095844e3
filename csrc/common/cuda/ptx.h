// Every instruction that CUDA C++ has no name for, one wrapper each. Their host emulations, for tests, are
// those of csrc/emulator/ptx_host.h, and csrc/emulator/ptx_dump.cu compares the two.
#pragma once
#include "common/cuda/device.h"

#ifdef PYRNN_EMULATE
#  include "emulator/ptx_host.h"
#else
namespace pyrnn {
namespace ptx {

// ---- products of a warp ---------------------------------------------------------------------------

// d += a b: a [16, 16] by rows, b [16, 8] by columns, d [16, 8]. With g = lane / 4 and c = lane % 4 * 2, a
// lane holds
//   a[0], a[1]: row g and g + 8 of columns c, c + 1; a[2], a[3]: the same of columns c + 8, c + 9
//   b[0], b[1]: rows c, c + 1 and c + 8, c + 9 of column g
//   d[0], d[1]: row g, columns c, c + 1; d[2], d[3]: row g + 8
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                             __nv_bfloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                             __half) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of 16-bit numbers from shared memory: lane l names row l % 8 of matrix l / 8, 16-byte
// aligned. A lane gets of each matrix the numbers 2 (l % 4) and 2 (l % 4) + 1 of row l / 4; transposed, of
// column l / 4.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&d)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&d)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}

// ---- registers ----------------------------------------------------------------------------------------

// The same number, of which the compiler knows nothing: what follows from it is worked out again where it is
// used, not before a loop and kept in registers.
__device__ __forceinline__ int opaque(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// ---- functions of a float ---------------------------------------------------------------------------

// 2^x, error 2 units in the last place; subnormal numbers are 0.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ---- flags in global memory, for threads of different blocks --------------------------------------

__device__ __forceinline__ unsigned ld_relaxed(const unsigned* p) {
  unsigned value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
  return value;
}
__device__ __forceinline__ unsigned ld_acquire(const unsigned* p) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
  return value;
}
__device__ __forceinline__ void st_release(unsigned* p, unsigned value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}
__device__ __forceinline__ void red_add_release(unsigned* p, unsigned value) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}

// ---- copies that run beside the thread -------------------------------------------------------------

// Global to shared, 16 bytes, both addresses multiples of 16. Not valid: zeros, and nothing is read.
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// This thread's copies have landed, but for those of its N newest groups.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// ---- clusters: from compute capability 9 ------------------------------------------------------------

__device__ __forceinline__ void trap() { asm volatile("trap;"); }

__device__ __forceinline__ unsigned cluster_rank() {
  unsigned rank = 0;
#  if __CUDA_ARCH__ >= 900
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#  endif
  return rank;
}
__device__ __forceinline__ unsigned cluster_size() {
  unsigned size = 1;
#  if __CUDA_ARCH__ >= 900
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
#  endif
  return size;
}
__device__ __forceinline__ void cluster_arrive_release() {
#  if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#  else
  trap();
#  endif
}
__device__ __forceinline__ void cluster_wait_acquire() {
#  if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#  else
  trap();
#  endif
}
// The same address in the shared memory of another block of the cluster.
template <class T>
__device__ __forceinline__ T* map_shared_rank(T* shared, unsigned rank) {
#  if __CUDA_ARCH__ >= 900
  uint64_t address;
  asm("mapa.u64 %0, %1, %2;" : "=l"(address) : "l"(shared), "r"(rank));
  return reinterpret_cast<T*>(address);
#  else
  trap();
  return shared;
#  endif
}

}  // namespace ptx
}  // namespace pyrnn
#endif
