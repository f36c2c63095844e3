// What the emulator keeps of the operations in async.h.
#pragma once
#include <stdint.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulator/async.h"

namespace pyrnn {
namespace emulator {

struct Block;

struct Mbarrier {
  unsigned expected, pending;  // arrivals
  int64_t bytes;               // expected less landed
  int64_t phase;               // how many are complete
  int initialiser;             // thread of the block
  bool fenced;                 // fence.mbarrier_init came after the init
  Site site;                   // of the init
  std::vector<int64_t> known;  // of each thread: how many phases it knows to be complete; -1: it never asked
  std::vector<uint32_t> clock, next_clock;  // of who arrived: for the race detector
};

struct TensorCopy {
  TensorTile tile;
  char* to;
  int at[4];
  uint64_t* barrier;
  int64_t phase;  // of the barrier when the copy began
  Site site;
};

struct Sums {  // accumulators that products in flight add to
  float* registers[32];
  int n, users;  // products
  std::vector<float> values;
};

struct WarpProduct {
  Product product;  // of lane 0: what all lanes have in common
  uint32_t a_registers[32][4];
  std::shared_ptr<Sums> sums;
  bool computed;
  Site site;
  const void* pc;  // in the kernel's code
};

struct WarpProducts {
  bool fenced = false;
  uint64_t issued = 0;
  std::vector<WarpProduct> open;
  std::deque<std::vector<WarpProduct>> groups;  // committed, oldest first
  std::vector<std::shared_ptr<Sums>> sums;      // in flight
};

constexpr int kNamedBarriers = 16;

struct NamedBarrier {
  int threads = 0, arrived = 0;
  uint64_t phase = 0;
  Site site;
  std::vector<uint32_t> clock, next_clock;
};

struct BlockAsync {
  std::map<const void*, Mbarrier> mbarriers;
  std::vector<TensorCopy> copies;  // in flight
  NamedBarrier named[kNamedBarriers];
  // The products of each warpgroup, of which every warp makes its 16 rows: all must issue the same ones.
  struct Issued {
    Product product;
    Site site;
  };
  std::vector<std::vector<Issued>> issued;
  int free_registers = 0;
};

// ---- mbarrier.cpp -----------------------------------------------------------------------------------

Mbarrier& valid_mbarrier(const char* name, uint64_t* barrier, Site site);
// `bytes` have landed. Returns what is wrong with it; empty: nothing.
std::string mbarrier_complete(Block& block, uint64_t* barrier, int64_t phase, int64_t bytes);
std::string incomplete_barriers(const Block& block);  // for the report of a deadlock

// ---- tensor_copy.cpp --------------------------------------------------------------------------------

// Lands one copy of a block that lives, if there is one. `error` gets what is wrong with it.
bool land_tensor_copy(std::string& error);
void maybe_land_tensor_copy();  // in schedules that are free

// ---- shared_memory.cpp ------------------------------------------------------------------------------

const char* from_shared_address(uint32_t address, uint32_t bytes);  // null: outside

// ---- warp_resources.cpp -----------------------------------------------------------------------------

void begin_async(Block& block);
void end_async(const Block& block);  // fails where anything is left in flight

}  // namespace emulator
}  // namespace pyrnn
