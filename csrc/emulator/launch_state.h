// What the emulator keeps of the launch that runs: its threads, warps, blocks and clusters.
#pragma once
#include <stdint.h>
#include <stdlib.h>

#include <string>
#include <vector>

#include "emulator/async_state.h"
#include "emulator/emulator.h"
#include "emulator/fiber.h"
#include "emulator/ready.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace pyrnn {
namespace emulator {

struct Block;
struct Warp;

enum class State : uint8_t { ready, at_barrier, in_warp, at_cluster, awaiting, spinning, done };

struct Copy {  // of cp.async
  void* to;
  const void* from;
  int bytes;
  bool valid;
  const void* pc;  // in the kernel's code
};
using CopyGroup = std::vector<Copy>;

struct Thread {
  Context context;
  Block* block;
  Warp* warp;
  uint3 index;
  int linear, lane;  // within the block, within the warp
  int id;            // within the grid
  State state;
  uint64_t priority;
  const char* doing;  // and where: what a report of a deadlock says
  Site site;
  bool awaits_cluster;  // has arrived at the cluster's barrier, in this phase of it, and not yet waited
  unsigned cluster_phase;
  const void* awaits;  // an mbarrier, a named barrier or the block's free registers
  CopyGroup open_copies;
  std::vector<CopyGroup> copies;  // committed, oldest first
};

struct Gathering {  // lanes on their way into one operation
  bool open = false;
  Combine combine;
  const char* name;
  uint32_t mask, arrived;
  Lanes lanes;
};

struct Warp {
  Thread* lane[32];
  uint32_t exist, exited;
  Gathering gathering[32];  // disjoint masks may be on their way at once
  WarpProducts products;
  int registers;  // of each thread
};

struct Tile {
  size_t offset, bytes;
};

struct Cluster {
  std::vector<Block*> blocks;
  int live = 0, arrived = 0;  // threads
  unsigned phase = 0;
  std::vector<uint32_t> clock, next_clock;  // of who arrived: for the race detector
};

struct Block {
  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { free(shared); }

  uint3 index;
  int linear;  // within the grid
  int live;    // threads
  int at_barrier;
  Site barrier_site;
  bool vote = false, voted = false;  // at this barrier so far; at the one before
  Cluster* cluster;
  unsigned rank;  // within the cluster
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  char* shared = nullptr;  // static arrays, then the dynamic memory
  size_t shared_bytes = 0;
  std::vector<bool> static_ready;  // poisoned at the first touch, like the array's key in the launch
  std::vector<Tile> tiles;         // allocated in the dynamic memory; offsets into `shared`
  BlockAsync async;
};

struct StaticArray {
  const void* key;
  size_t offset, bytes;
};

struct Launch {
  LaunchShape shape;
  void (*body)(void*);
  void* arguments;
  int threads_per_block;
  ReadyQueue ready;
  std::vector<Thread*> spinning;
  bool copies_land_late;
  int tensor_copies;                 // in flight, of all blocks
  uint64_t progress;                 // grows when anything happens that a spinning thread may wait for
  std::string error;                 // not empty: the launch is over
  std::vector<StaticArray> statics;  // one place for all blocks: peers of a cluster reach them by offset
  size_t static_top;
  Context main;
};

extern Launch launch_state;
extern Thread* current;  // null outside of kernels
extern bool quiet;       // memory accesses are the emulator's own, not the kernel's

// ---- scheduler.cpp ----------------------------------------------------------------------------------

void make_ready(Thread* thread);
void suspend(State state, const char* doing, Site site);
// Suspends the current thread until someone wakes those who await `what`.
void await(const void* what, const char* doing, Site site);
void wake_awaiting(Block& block, const void* what);
void reschedule();     // the current thread is among the ready; another may go first
bool order_is_free();  // whether this schedule reorders those who are ready
void blocks_with_copies(std::vector<Block*>& blocks);

// ---- barriers.cpp -----------------------------------------------------------------------------------

void thread_exits(Thread* thread);

// ---- shared_memory.cpp ------------------------------------------------------------------------------

void open_shared(Block& block);
void end_shared(Block& block);    // its last thread is gone; peers of the cluster may be there still
void close_shared(Block& block);  // its memory may serve another block
bool in_shared(const Block& block, const void* p, size_t bytes);

}  // namespace emulator
}  // namespace pyrnn
