// What code that is compiled with -fsanitize=thread calls at each access to memory. The sanitizer's own
// runtime is not linked: it knows nothing of fibers, blocks and shared memory.
#include <stddef.h>

#include "emulator/race.h"

using pyrnn::emulator::race::access;

#define PYRNN_TOUCH(writes, cached) {writes, false, false, __builtin_return_address(0), false, cached}
#define PYRNN_ENTRY(name, bytes, writes, cached) \
  void __tsan_##name##bytes(void* p) { access(p, bytes, PYRNN_TOUCH(writes, cached)); }
#define PYRNN_ENTRIES(bytes)                                \
  PYRNN_ENTRY(read, bytes, false, true)                     \
  PYRNN_ENTRY(write, bytes, true, false)                    \
  PYRNN_ENTRY(unaligned_read, bytes, false, true)           \
  PYRNN_ENTRY(unaligned_write, bytes, true, false)          \
  PYRNN_ENTRY(volatile_read, bytes, false, false)           \
  PYRNN_ENTRY(volatile_write, bytes, true, false)           \
  PYRNN_ENTRY(unaligned_volatile_read, bytes, false, false) \
  PYRNN_ENTRY(unaligned_volatile_write, bytes, true, false)

extern "C" {
PYRNN_ENTRIES(1)
PYRNN_ENTRIES(2)
PYRNN_ENTRIES(4)
PYRNN_ENTRIES(8)
PYRNN_ENTRIES(16)
void __tsan_read_range(void* p, size_t bytes) { access(p, bytes, PYRNN_TOUCH(false, true)); }
void __tsan_write_range(void* p, size_t bytes) { access(p, bytes, PYRNN_TOUCH(true, false)); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
