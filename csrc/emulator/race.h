// A race detector by vector clocks, fed by the compiler's -fsanitize=thread instrumentation of the kernels
// (race_entries.cpp). Without PYRNN_EMULATE_RACE every function here is empty.
//
// Order among threads comes from barriers of blocks, warps and clusters, and from acquire and release on
// flags; shuffles and products of a warp give none, as CUDA has it.
//
// One rule is stricter than CUDA's: what one block of a launch writes to global memory, another loads past
// the first-level cache (__ldcg, cp.async). That cache is not coherent. An acquire empties it, so a plain
// load behind one finds the right number, but only because of an instruction that stands elsewhere.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "emulator/emulator.h"

namespace pyrnn {
namespace emulator {

struct Thread;

namespace race {

using Clock = std::vector<uint32_t>;  // for each thread of the grid, how much of it has happened before

#ifdef PYRNN_EMULATE_RACE

// ---- race_order.cpp: what has happened before what --------------------------------------------------

void start(int threads);                          // a launch
void barrier(Thread* const* threads, int count);  // all that each did is before all that each does from here
void release_into(Clock& clock, int thread);
void acquire_from(const Clock& clock, int thread);
void fence(int thread);
void proxy_fence(int thread);
void write_flag(int thread, const void* flag, bool reads, Order order);
void read_flag(int thread, const void* flag, Order order);
uint32_t now(int thread);
bool happened_before(int earlier, uint32_t when, int later);
// Whether a proxy fence stands between: of the earlier thread, known to the later one, or the later one's
// own. One of a third thread on the way would do, too, but is not looked for.
bool proxy_fenced(int earlier, uint32_t when, int later);

// ---- race_memory.cpp: who touched what --------------------------------------------------------------

struct Touch {
  bool writes, atomic, read_only;
  const void* pc;       // in the kernel's code
  bool async = false;   // by the copy engine or a product of a warpgroup, which see through another proxy
  bool cached = false;  // a load that the cache of one multiprocessor may serve
};
void access(const void* p, size_t bytes, const Touch& touch);
void forget_all();
void forget(const void* p, size_t bytes);  // memory that begins a new life
// Shared memory of a block whose last thread ends here, while others of the cluster might reach it.
void gone(const void* p, size_t bytes);

#else

struct Touch {
  bool writes, atomic, read_only;
  const void* pc;
  bool async = false, cached = false;
};
inline void start(int) {}
inline void barrier(Thread* const*, int) {}
inline void release_into(Clock&, int) {}
inline void acquire_from(const Clock&, int) {}
inline void fence(int) {}
inline void proxy_fence(int) {}
inline void write_flag(int, const void*, bool, Order) {}
inline void read_flag(int, const void*, Order) {}
inline void access(const void*, size_t, const Touch&) {}
inline void forget_all() {}
inline void forget(const void*, size_t) {}
inline void gone(const void*, size_t) {}

#endif

}  // namespace race
}  // namespace emulator
}  // namespace pyrnn
