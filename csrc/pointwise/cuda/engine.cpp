#include "pointwise/cuda/engine.h"

#include "common/cuda/check.h"
#include "common/integers.h"
#include "pointwise/cuda/kernels.h"

namespace pyrnn::pointwise::cuda {
namespace {

constexpr int64_t kBlocksPerSm = 2048 / kThreads;  // as many threads as a multiprocessor holds

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pyrnn: ") + what);
}

const KernelSet& kernels_of(const DropoutProblem& p) {
  const KernelSet* sets[kDTypes] = {&pyrnn_cuda_pointwise_float32, &pyrnn_cuda_pointwise_bfloat16,
                                    &pyrnn_cuda_pointwise_float64, &pyrnn_cuda_pointwise_float16};
  require(p.dtype >= 0 && p.dtype < kDTypes, "unknown dtype");
  require(p.activation >= 0 && p.activation < kActivations, "unknown activation");
  require(p.p >= 0 && p.p <= 1, "a probability outside [0, 1]");
  return *sets[p.dtype];
}

void run(const DropoutProblem& p, LaunchDropout kernel, int64_t elements, const Launch& launch) {
  if (p.count == 0) return;
  const uint64_t places = reinterpret_cast<uint64_t>(p.x) | reinterpret_cast<uint64_t>(p.other) |
                          reinterpret_cast<uint64_t>(p.out);
  const uint64_t seed = uint64_t(p.seed);
  const double scale = p.p < 1 ? 1 / (1 - p.p) : 0;
  const DropoutCall call{
      p.x,     p.other, p.out,           p.count, scale, uint32_t(seed), uint32_t(seed >> 32), kept_from(p.p),
      p.p > 0, p.p < 1, places % 16 == 0};
  const int64_t most = device_properties(launch.device).sms * kBlocksPerSm;
  const int64_t blocks = min(ceil_div(p.count, elements * kThreads), most);
  const LaunchShape shape{dim3(unsigned(blocks)), dim3(kThreads), 0, false, 0};
  check_cuda(kernel(call, shape, launch.stream), "launching dropout");
}

}  // namespace

void dropout_forward(const DropoutProblem& p, const Launch& launch) {
  const KernelSet& set = kernels_of(p);
  require(p.count == 0 || (p.x && p.out), "tensor without storage");
  run(p, set.forward[p.activation], set.elements, launch);
}

void dropout_backward(const DropoutProblem& p, const Launch& launch) {
  const KernelSet& set = kernels_of(p);
  require(p.count == 0 || ((p.x || p.activation == kIdentity) && p.other && p.out), "tensor without storage");
  run(p, set.backward[p.activation], set.elements, launch);
}

}  // namespace pyrnn::pointwise::cuda
