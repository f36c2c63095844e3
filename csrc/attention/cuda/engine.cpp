#include "attention/cuda/engine.h"

#include "attention/cuda/calls.h"
#include "common/cuda/check.h"
#include "common/integers.h"

namespace pyrnn::attention::cuda {

void forward(const Problem& p, const Launch& call) {
  const ForwardPlan plan = plan_forward(p, device_properties(call.device));
  const KernelSet& set = cuda_kernels(p.dtype);
  ForwardCall work{p, plan.row_tiles, plan.splits, plan.keys_per_split, nullptr, nullptr};
  const int64_t rows = p.B * p.H * p.T;
  if (plan.splits > 1) {
    work.partial_out = call.scratch;
    work.partial_statistics = static_cast<char*>(call.scratch) + size_t(plan.splits * rows * p.V) * set.sum;
  }
  const LaunchShape shape{dim3(unsigned(p.B * p.K * plan.row_tiles * plan.splits)),
                          dim3(unsigned(plan.kernel->threads)), plan.kernel->shared, false, 0};
  check_cuda(plan.kernel->launch(work, shape, call.stream), "launching attention");
  if (plan.splits == 1) return;
  const int64_t blocks = ceil_div(rows * 32, set.combine_threads);
  const LaunchShape combine{dim3(unsigned(blocks)), dim3(unsigned(set.combine_threads)), 0, false, 0};
  check_cuda(set.combine(work, combine, call.stream), "combining the parts of attention");
}

}  // namespace pyrnn::attention::cuda
