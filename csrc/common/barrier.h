// A barrier among a few threads of one parallel region: a flag per thread, no atomic read-modify-write.
//
// Spins briefly, then gives the processor away: where something else runs on a core, a long spin costs
// milliseconds.
#pragma once
#include <sched.h>
#include <stdint.h>
#include "common/flag.h"

namespace pyrnn {
namespace {

// `flags[count]` start at zero; every thread passes its own index and counts its own epochs.
inline void barrier(Flag* flags, int count, int self, int64_t& epoch) {
  if (count == 1) return;
  epoch++;
  __atomic_store_n(&flags[self].value, epoch, __ATOMIC_RELEASE);
  for (int i = 0; i < count; i++) {
    int spins = 0;
    while (__atomic_load_n(&flags[i].value, __ATOMIC_ACQUIRE) < epoch) {
      if (++spins < 64) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      } else {
        sched_yield();
      }
    }
  }
}

}  // namespace
}  // namespace pyrnn
