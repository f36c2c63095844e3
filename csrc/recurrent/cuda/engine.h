// Launches of one pass over a span of steps. Everything is enqueued on the caller's stream; nothing waits.
#pragma once
#include "plan.h"

namespace pyrnn {

struct WalkCall {
  int device;
  CudaEngine engine;
  cudaStream_t stream;
  void* scratch;  // plan_walk(...).bytes, zeroed before the first span of a pass and kept until the last
  bool begin;     // the first span: weights are packed and initial states put in place
};

// Why no kernel can be launched in this process; empty where one can.
std::string why_unavailable();

// `w` holds all but the layout. They raise std::invalid_argument for null pointers, std::runtime_error for
// what the driver refuses.
void run_walk(const WalkSizes& sizes, bool backward, Walk w, const WalkCall& call);
void run_replay(const WalkSizes& sizes, const Walk& w, const WalkCall& call);

// Nothing but `steps` meetings of `blocks` blocks, for measuring what one costs. `arrivals` points to a zero.
void run_meetings(unsigned* arrivals, int blocks, int64_t steps, cudaStream_t stream);

// Raises std::runtime_error with words for anything but success.
void check_cuda(cudaError_t error, const char* what);

}  // namespace pyrnn
