// What runs beside the threads of a block from compute capability 9.0 on: barriers in shared memory, copies
// of tensors, products of warpgroups, named barriers. ptx90_host.h calls this.
#pragma once
#include <stdint.h>

#include "common/cuda/tensor_map.h"
#include "emulator/emulator.h"

namespace pyrnn {
namespace emulator {

// ---- mbarrier.cpp -----------------------------------------------------------------------------------

void mbarrier_init(uint64_t* barrier, unsigned count, Site site);
void mbarrier_init_fence();
void mbarrier_arrive(const char* name, uint64_t* barrier, unsigned bytes, Site site);
bool mbarrier_try_wait(uint64_t* barrier, unsigned parity, Site site);
void mbarrier_wait(uint64_t* barrier, unsigned parity, Site site);

// ---- tensor_copy.cpp --------------------------------------------------------------------------------

void tensor_load(void* shared, const TensorMap* map, const int (&at)[4], uint64_t* barrier, Site site);
void proxy_fence();

// ---- shared_memory.cpp ------------------------------------------------------------------------------

// For descriptors; of the dynamic shared memory alone.
uint32_t shared_address(const void* p, Site site);

// ---- wgmma.cpp --------------------------------------------------------------------------------------

struct Product {  // one lane's part of wgmma.mma_async
  int n;
  bool bf16, accumulate, a_in_registers, a_by_rows, b_by_columns;  // the last two: Major::mn
  uint64_t a, b;                                                   // descriptors
  const uint32_t* a_registers;                                     // [4], or null
  float* sums;                                                     // [n / 2]
};
void wgmma(const Product& product, Site site);
void wgmma_fence(Site site);
void wgmma_commit(Site site);
void wgmma_wait(int newest, Site site);

// ---- warp_resources.cpp -----------------------------------------------------------------------------

void named_barrier(int id, int threads, bool waits, Site site);
void set_registers(int registers, bool more, Site site);

}  // namespace emulator
}  // namespace pyrnn
