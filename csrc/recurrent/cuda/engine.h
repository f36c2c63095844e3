// Launches of one pass over a segment of steps. Everything is enqueued on the caller's stream; nothing waits.
#pragma once
#include "recurrent/cuda/plan.h"

namespace pyrnn::recurrent::cuda {

struct Launch {
  int device;
  Engine engine;
  cudaStream_t stream;
  void* scratch;  // make_plan(...).bytes, zeroed before the first segment of a pass and kept until the last
  bool begin;     // the first segment: weights are packed and initial states put in place
};

// Why no kernel can be launched in this process; empty where one can.
std::string why_unavailable();

// `w` holds all but the layout. They raise std::invalid_argument for null pointers, std::runtime_error for
// what the driver refuses.
void run(const Sizes& sizes, bool backward, Recurrence w, const Launch& call);
void replay(const Sizes& sizes, const Recurrence& w, const Launch& call);

}  // namespace pyrnn::recurrent::cuda
