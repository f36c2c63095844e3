// What the wrappers of csrc/common/cuda/ptx90.h mean, for the emulator.
#pragma once
#include "emulator/async.h"
#include "emulator/ptx_host.h"

namespace pyrnn {
namespace ptx {

inline uint32_t shared_address(const void* p, Site site = Site::here()) {
  return emulator::shared_address(p, site);
}

// ---- barriers and copies -------------------------------------------------------------------------------

inline void mbarrier_init(uint64_t* barrier, unsigned count, Site site = Site::here()) {
  emulator::mbarrier_init(barrier, count, site);
}
inline void mbarrier_init_fence() { emulator::mbarrier_init_fence(); }
inline void mbarrier_arrive(uint64_t* barrier, Site site = Site::here()) {
  emulator::mbarrier_arrive("mbarrier.arrive", barrier, 0, site);
}
inline void mbarrier_arrive_expect_tx(uint64_t* barrier, unsigned bytes, Site site = Site::here()) {
  emulator::mbarrier_arrive("mbarrier.arrive.expect_tx", barrier, bytes, site);
}
inline bool mbarrier_try_wait(uint64_t* barrier, unsigned parity, Site site = Site::here()) {
  return emulator::mbarrier_try_wait(barrier, parity, site);
}
inline void mbarrier_wait(uint64_t* barrier, unsigned parity, Site site = Site::here()) {
  emulator::mbarrier_wait(barrier, parity, site);
}
__forceinline__ void tensor_load(void* shared, const TensorMap* map, int c0, int c1, int c2, int c3,
                                 uint64_t* barrier, Site site = Site::here()) {
  emulator::tensor_load(shared, map, {c0, c1, c2, c3}, barrier, site);
}
inline void proxy_fence() { emulator::proxy_fence(); }

// ---- products of a warpgroup: inlined, so that a report of a race finds the kernel's line
// -----------------------------------------------------------------------------

inline void wgmma_fence(Site site = Site::here()) { emulator::wgmma_fence(site); }
inline void wgmma_commit(Site site = Site::here()) { emulator::wgmma_commit(site); }
template <int N>
void wgmma_wait(Site site = Site::here()) {
  emulator::wgmma_wait(N, site);
}
template <int R>
void wgmma_pin(float (&)[R]) {}

template <class S, int N, Major kA = Major::k, Major kB = Major::k>
__forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate = true,
                           Site site = Site::here()) {
  emulator::wgmma({N, std::is_same<S, __nv_bfloat16>::value, accumulate, false, kA == Major::mn,
                   kB == Major::mn, a, b, nullptr, d},
                  site);
}
template <class S, int N, Major kB = Major::k>
__forceinline__ void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate = true,
                           Site site = Site::here()) {
  emulator::wgmma(
      {N, std::is_same<S, __nv_bfloat16>::value, accumulate, true, false, kB == Major::mn, 0, b, a, d}, site);
}

// ---- registers and named barriers
// --------------------------------------------------------------------------

template <int kRegisters>
void release_registers(Site site = Site::here()) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256, "no such number of registers");
  emulator::set_registers(kRegisters, false, site);
}
template <int kRegisters>
void claim_registers(Site site = Site::here()) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256, "no such number of registers");
  emulator::set_registers(kRegisters, true, site);
}
inline void named_barrier_sync(int id, int threads, Site site = Site::here()) {
  emulator::named_barrier(id, threads, true, site);
}
inline void named_barrier_arrive(int id, int threads, Site site = Site::here()) {
  emulator::named_barrier(id, threads, false, site);
}

}  // namespace ptx
}  // namespace pyrnn
