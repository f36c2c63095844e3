// Runs CUDA kernels as host code, for tests. This is what the headers of the kernels call.
//
// Every CUDA thread is a fiber. All fibers of a launch run on one OS thread and yield only at
// barriers, in operations of a warp, and where they wait for a flag. A seed chooses who goes on
// (PYRNN_EMULATE_SEED, or pyrnn_emulate_seed), so one seed is one schedule, and several seeds show what
// depends on the order. Every fault throws std::runtime_error from the launch, with words.
//
// What it cannot show: speed, registers, coalescing, bank conflicts, and a PTX instruction that wrapper and
// emulation both misread (see ptx_dump.cu).
#pragma once
#include <driver_types.h>
#include <stdint.h>

#include <string>

#include "common/cuda/launch_shape.h"

// Chooses the schedule of the launches that follow, and starts the count of launches anew.
extern "C" __attribute__((visibility("default"))) void pyrnn_emulate_seed(uint64_t seed);

namespace pyrnn {

constexpr size_t kRedZone = 64;  // bytes after an allocated tile that nobody may touch

// What device_properties and the checks of a launch say from now on; by default an H200's.
void emulate_device(int sms, int shared_per_block);
Device device_properties(int device);

namespace emulator {

struct Site {  // of a call in a kernel
  const char* file;
  int line;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// Ends the launch with this message; on the kernel's side it does not return.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

void run(const char* name, const LaunchShape& shape, void (*body)(void*), void* arguments);
int resident_blocks(int threads, size_t shared);  // per multiprocessor, as far as registers allow
// Warps for whose registers a multiprocessor has room: of the kernel that is `kKernel` in the name of a
// function as GCC tells it. csrc/occupancy.txt knows them; a kernel that is not there, as those of tests, has
// no limit.
int warps_of_registers(const std::string& function);

// ---- shared memory ----------------------------------------------------------------------------------

void* static_shared(const void* key, size_t bytes, size_t align);  // key: one for each array of the source
unsigned char* dynamic_shared();
void tile(void* p, size_t bytes);  // an allocated tile; a red zone follows it
// Fails where these bytes are not this block's, or not aligned to their number.
void require_shared(const char* name, const void* p, size_t bytes, Site site);

// ---- barriers and operations of a warp --------------------------------------------------------------

void block_barrier(Site site);
bool block_barrier_or(bool vote, Site site);  // whether anyone's vote is true
void warp_barrier(uint32_t mask, Site site);
int lane();

// An operation of the lanes in `mask`: the last to come runs `combine` over all packets.
struct Lanes {
  void* packet[32];
  uint32_t present;
  Site site;
};
using Combine = void (*)(Lanes&);
void collective(const char* name, Combine combine, uint32_t mask, void* packet, Site site);

void cluster_arrive(Site site);
void cluster_wait(Site site);
unsigned cluster_rank();
unsigned cluster_size();
void* map_shared_rank(void* shared, unsigned rank, Site site);

// ---- flags ------------------------------------------------------------------------------------------

// Lets others run; the caller looks at the flag again when it goes on.
void spin(Site site);
void fence();

enum class Order { relaxed, acquire, release };
// Around one atomic access, which is then an ordinary one: all fibers share one OS thread.
class Atomic {
 public:
  Atomic(const void* p, size_t bytes, bool reads, bool writes, Order order);
  ~Atomic();
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

 private:
  const void* p_;
  bool reads_;
  Order order_;
};

// A load through the read-only path: whoever writes there in the same launch is at fault.
void read_only(const void* p, size_t bytes);
// A load from the second-level cache, which all blocks share.
void load_shared_cache(void* to, const void* p, size_t bytes);

// ---- copies -----------------------------------------------------------------------------------------

void copy_async(void* shared, const void* global, int bytes, bool valid, Site site);
void copy_commit();
void copy_wait(int newest);  // all but the newest groups have landed

}  // namespace emulator
}  // namespace pyrnn
