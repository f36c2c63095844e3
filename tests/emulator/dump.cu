// Prints ptx_dump under each of eight schedules: a line "schedule section exact values...".
#include <stdio.h>

#include "emulator/ptx_dump.h"

// The kernels are compiled here, as one source with this program.
#include "emulator/ptx90_dump.cu"
#include "emulator/ptx_dump.cu"

int main() {
  for (uint64_t seed = 0; seed < 8; seed++) {
    pyrnn_emulate_seed(seed);
    for (const pyrnn::PtxSection& section : pyrnn::ptx_dump(0)) {
      printf("%d %s %d", int(seed), section.name.c_str(), section.exact);
      for (float value : section.values) printf(" %.9g", double(value));
      printf("\n");
    }
  }
  return pyrnn_ptx_dump(nullptr, 0, 0) > 0 ? 0 : 1;
}
