#include "emulator/fiber.h"

#include <stdint.h>
#include <sys/mman.h>

#include <new>

#if PYRNN_EMULATE_ASAN
#  include <sanitizer/asan_interface.h>
#  include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__) || !defined(__linux__)
#  error "the emulator switches contexts in assembly that is written for Linux on x86-64"
#endif

// Saves what the calling convention asks a function to keep, then takes over the other stack. A library
// function (swapcontext) would enter the kernel at each switch to keep the signal mask.
extern "C" void pyrnn_switch_stack(void** from, void* to);
extern "C" void pyrnn_enter_stack();
asm(R"(
.text
.globl pyrnn_switch_stack
.hidden pyrnn_switch_stack
.type pyrnn_switch_stack, @function
pyrnn_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size pyrnn_switch_stack, . - pyrnn_switch_stack
.globl pyrnn_enter_stack
.hidden pyrnn_enter_stack
.type pyrnn_enter_stack, @function
pyrnn_enter_stack:
  xorl %ebp, %ebp
  call *%rbx
  ud2
.size pyrnn_enter_stack, . - pyrnn_enter_stack
)");

namespace pyrnn {
namespace emulator {

constexpr size_t kPage = 4096;
constexpr size_t kStacksAtOnce = 256;

void prepare_context(Context& context, char* stack, size_t colour, void (*entry)()) {
  constexpr size_t kColours = 16, kColourBytes = kPage / kColours;
#if PYRNN_EMULATE_ASAN
  __asan_unpoison_memory_region(stack, kStackBytes);  // the last fiber may have left in the midst of a frame
#endif
  context = {nullptr, stack, kStackBytes, nullptr};
  auto top = reinterpret_cast<void**>(stack + kStackBytes - colour % kColours * kColourBytes);
  *--top = nullptr;  // the stack is 16-byte aligned where pyrnn_enter_stack calls
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(pyrnn_enter_stack);
  *--top = nullptr;                         // rbp
  *--top = reinterpret_cast<void*>(entry);  // rbx
  for (int i = 0; i < 4; i++) *--top = nullptr;
  context.stack_pointer = top;
}

void context_entered(Context& main) {
#if PYRNN_EMULATE_ASAN
  const void* stack;
  size_t bytes;
  __sanitizer_finish_switch_fiber(nullptr, &stack, &bytes);
  if (!main.stack) main.stack = stack, main.stack_bytes = bytes;
#else
  (void)main;
#endif
}

void switch_context(Context& from, Context& to, bool for_good) {
#if PYRNN_EMULATE_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#else
  (void)for_good;
#endif
  pyrnn_switch_stack(&from.stack_pointer, to.stack_pointer);
#if PYRNN_EMULATE_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

char* StackPool::take() {
  if (free_.empty()) grow();
  char* stack = free_.back();
  free_.pop_back();
  return stack;
}

void StackPool::grow() {
  const size_t each = kStackBytes + kPage;
  void* memory = mmap(nullptr, each * kStacksAtOnce, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  for (size_t i = kStacksAtOnce; i-- > 0;) {
    char* guard = static_cast<char*>(memory) + i * each;
    if (mprotect(guard, kPage, PROT_NONE) != 0) throw std::bad_alloc();
    free_.push_back(guard + kPage);
  }
}

}  // namespace emulator
}  // namespace pyrnn
