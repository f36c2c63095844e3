#include "engine.h"
#include "meeting.h"
#include "walk.h"

namespace pyrnn {
namespace {

__global__ void __launch_bounds__(kBlockThreads, 1) meeting_kernel(unsigned* arrivals, int64_t steps) {
  for (int64_t s = 1; s <= steps; s++) {
    arrive(arrivals);
    wait(arrivals, unsigned(s) * gridDim.x);
  }
}

}  // namespace

void run_meetings(unsigned* arrivals, int blocks, int64_t steps, cudaStream_t stream) {
  const LaunchShape shape{dim3(unsigned(blocks)), dim3(kBlockThreads), 0, true, 0};
  check_cuda(launch("meetings", meeting_kernel, shape, stream, arrivals, steps), "launching meetings alone");
}

}  // namespace pyrnn
