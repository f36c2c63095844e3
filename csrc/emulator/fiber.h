// Contexts of execution with a stack each, all on one OS thread.
#pragma once
#include <stddef.h>

#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#  define PYRNN_EMULATE_ASAN 1
#else
#  define PYRNN_EMULATE_ASAN 0
#endif

namespace pyrnn {
namespace emulator {

// Instrumented code needs several times the stack.
#if PYRNN_EMULATE_ASAN || defined(PYRNN_EMULATE_RACE)
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

struct Context {
  void* stack_pointer = nullptr;
  const void* stack = nullptr;  // lowest address; of the main context: set when a fiber first runs
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's own state while the context rests
};

// Makes a context that will call `entry`, which never returns. `colour` shifts the first frame: stacks that
// begin at equal offsets in their pages would all fight for the same lines of the cache.
void prepare_context(Context& context, char* stack, size_t colour, void (*entry)());
// The first thing that `entry` does.
void context_entered(Context& main);
// Rests `from` and goes on with `to`. `for_good`: `from` will not run again.
void switch_context(Context& from, Context& to, bool for_good);

// Stacks with a page below each that faults when it is touched. They are kept for the next launches.
class StackPool {
 public:
  char* take();
  void give(char* stack) { free_.push_back(stack); }

 private:
  void grow();
  std::vector<char*> free_;
};

}  // namespace emulator
}  // namespace pyrnn
