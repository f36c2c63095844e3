#include "attention/cuda/engine.h"

#include "attention/cuda/calls.h"
#include "common/cuda/check.h"
#include "common/integers.h"

namespace pyrnn::attention::cuda {
namespace {

LaunchShape shape_of(int64_t blocks, int threads, size_t shared = 0) {
  return {dim3(unsigned(blocks)), dim3(unsigned(threads)), shared, false, 0};
}

void write_weights(const Problem& p, const Launch& call) {
  const PairPlan plan = plan_weights(p);
  const PairCall work{p, plan.query_tiles, plan.key_tiles, nullptr, {}};
  const LaunchShape shape = shape_of(plan.blocks, plan.kernel->threads, plan.kernel->shared);
  check_cuda(plan.kernel->launch(work, shape, call.stream), "launching the weights of attention");
}

}  // namespace

// `scratch` has scratch_bytes of plan_mask_gradient.
void mask_gradient(const Problem& p, const Launch& call, const void* delta, void* scratch) {
  const PairPlan plan = plan_mask_gradient(p, call.mask(), device_properties(call.device));
  PairCall work{p, plan.query_tiles, plan.key_tiles, delta, plan.sums};
  work.sums.data = plan.sums.is_final ? p.d_mask : scratch;
  const LaunchShape shape = shape_of(plan.blocks, plan.kernel->threads, plan.kernel->shared);
  check_cuda(plan.kernel->launch(work, shape, call.stream), "launching the gradient of attention's mask");
  if (plan.sums.is_final) return;
  const PairKernelSet& set = cuda_pair_kernels(p.dtype);
  const int64_t numbers = call.mask_batch * call.mask_heads * call.mask_queries * call.mask_keys;
  check_cuda(set.sum_mask(work, shape_of(ceil_div(numbers, set.sum_threads), set.sum_threads), call.stream),
             "summing the gradient of attention's mask");
}

void forward(const Problem& p, const Launch& call) {
  const ForwardPlan plan = plan_forward(p, device_properties(call.device));
  const KernelSet& set = cuda_kernels(p.dtype);
  ForwardCall work{p, plan.row_tiles, plan.splits, plan.keys_per_split, nullptr, nullptr};
  const int64_t rows = p.B * p.H * p.T;
  if (plan.splits > 1) {
    work.partial_out = call.scratch;
    work.partial_statistics = static_cast<char*>(call.scratch) + size_t(plan.splits * rows * p.V) * set.sum;
  }
  const int64_t blocks = p.B * p.K * plan.row_tiles * plan.splits;
  check_cuda(
      plan.kernel->launch(work, shape_of(blocks, plan.kernel->threads, plan.kernel->shared), call.stream),
      "launching attention");
  if (plan.splits > 1) {
    const LaunchShape combine = shape_of(ceil_div(rows * 32, set.combine_threads), set.combine_threads);
    check_cuda(set.combine(work, combine, call.stream), "combining the parts of attention");
  }
  if (p.weights.data) write_weights(p, call);
}

}  // namespace pyrnn::attention::cuda
