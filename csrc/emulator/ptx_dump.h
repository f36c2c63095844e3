// What each instruction of ptx.h, and each function of CUDA that kernels rely on, gives for fixed inputs.
//
// The same source runs on a device and under the emulator. A dump that a device made is committed, and a test
// compares the emulator's with it: then the emulations of ptx_host.h mean what the device does.
#pragma once
#include <string>
#include <vector>

namespace pyrnn {

struct PtxSection {
  std::string name;
  bool exact;  // the device gives these very values; else up to a few units in the last place of the terms
  std::vector<float> values;  // empty: this device has no such instruction
};

// Throws std::runtime_error where the device fails.
std::vector<PtxSection> ptx_dump(int device);
// Its part for the instructions of ptx90.h, compiled for 9.0a alone.
std::vector<PtxSection> ptx90_dump(int device);

}  // namespace pyrnn

// All sections one after the other into out[n]. Returns how many values there are, or -1; `out` may be null.
extern "C" __attribute__((visibility("default"))) int pyrnn_ptx_dump(float* out, int n, int device);
