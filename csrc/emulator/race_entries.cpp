// What code that is compiled with -fsanitize=thread calls at each access to memory. The sanitizer's own
// runtime is not linked: it knows nothing of fibers, blocks and shared memory.
#include <stddef.h>

#include "emulator/fiber.h"
#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace {

using pyrnn::emulator::race::Touch;

// An inline function of the standard library that a kernel's object holds, instrumented, may serve the
// emulator, too: the linker keeps one. On the scheduler's stack no kernel runs.
void access(const void* p, size_t bytes, const Touch& touch) {
  const pyrnn::emulator::Thread* thread = pyrnn::emulator::current;
  if (!thread) return;
  const auto here = static_cast<const char*>(__builtin_frame_address(0));
  const auto stack = static_cast<const char*>(thread->context.stack);
  if (here < stack || here >= stack + pyrnn::emulator::kStackBytes) return;
  pyrnn::emulator::race::access(p, bytes, touch);
}

}  // namespace

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
