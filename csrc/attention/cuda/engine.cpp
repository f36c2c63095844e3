#include "attention/cuda/engine.h"

#include "attention/cuda/calls.h"
#include "common/cuda/check.h"
#include "common/integers.h"

namespace pyrnn::attention::cuda {
namespace {

template <class Call>
void run(const FlatKernel<Call>& kernel, const Call& work, int64_t blocks, size_t shared, const Launch& call,
         const char* what) {
  const LaunchShape shape{dim3(unsigned(blocks)), dim3(unsigned(kernel.threads)), shared, false, 0};
  check_cuda(kernel.launch(work, shape, call.stream), what);
}

template <class Call>
void run_threads(const FlatKernel<Call>& kernel, const Call& work, int64_t threads, const Launch& call,
                 const char* what) {
  run(kernel, work, ceil_div(threads, kernel.threads), 0, call, what);
}

// Adds the splits of one gradient of `heads` heads of `rows` rows.
void sum_splits(const Problem& p, const GradientStep& step, const Heads& to, int64_t heads, int64_t rows,
                int64_t features, double scale, const void* partial, const Launch& call) {
  const BackwardKernelSet& set = cuda_backward_kernels(p.dtype);
  const bool whole = (to.batch | to.head | to.row | features) % set.split_numbers == 0 &&
                     reinterpret_cast<uintptr_t>(to.data) % 16 == 0;
  const int64_t pieces = whole ? features / set.split_numbers : features;
  const int64_t blocks = ceil_div(rows * pieces, set.split_sum.threads);
  const SplitSumCall work{to, p.B, heads, rows, features, step.splits, whole, pieces, blocks, scale, partial};
  run(set.split_sum, work, p.B * heads * blocks, 0, call, "adding the parts of attention's gradients");
}

void write_weights(const Problem& p, const Launch& call) {
  const PairPlan plan = plan_weights(p);
  const PairCall work{p, plan.query_tiles, plan.key_tiles, nullptr, {}};
  run(FlatKernel<PairCall>{plan.kernel->threads, plan.kernel->launch}, work, plan.blocks, plan.kernel->shared,
      call, "launching the weights of attention");
}

// `scratch` has scratch_bytes of the plan.
void mask_gradient(const Problem& p, const PairPlan& plan, const MaskSizes& mask, const Launch& call,
                   const void* queries, void* scratch) {
  PairCall work{p, plan.query_tiles, plan.key_tiles, queries, plan.sums};
  work.sums.data = plan.sums.is_final ? p.d_mask : scratch;
  run(FlatKernel<PairCall>{plan.kernel->threads, plan.kernel->launch}, work, plan.blocks, plan.kernel->shared,
      call, "launching the gradient of attention's mask");
  if (plan.sums.is_final) return;
  const PairKernelSet& set = cuda_pair_kernels(p.dtype);
  run_threads(FlatKernel<PairCall>{set.sum_threads, set.sum_mask}, work,
              mask.batch * mask.heads * mask.queries * mask.keys, call,
              "summing the gradient of attention's mask");
}

}  // namespace

void forward(const Problem& p, const ForwardPlan& plan, const Launch& call) {
  const KernelSet& set = cuda_kernels(p.dtype);
  ForwardCall work{p, plan.row_tiles, plan.splits, plan.section, nullptr, nullptr};
  const int64_t rows = p.B * p.H * p.T;
  if (plan.splits > 1) {
    work.partial_out = call.scratch;
    work.partial_statistics = static_cast<char*>(call.scratch) + size_t(plan.splits * rows * p.V) * set.sum;
  }
  run(plan.kernel->run, work, plan.blocks, plan.kernel->shared, call, "launching attention");
  if (plan.splits > 1) run_threads(set.combine, work, rows * 32, call, "combining the parts of attention");
  if (p.weights.data) write_weights(p, call);
}

void backward(const Problem& p, const BackwardPlan& plan, const Launch& call) {
  const BackwardKernelSet& set = cuda_backward_kernels(p.dtype);
  char* const partial = static_cast<char*>(call.scratch) + plan.queries_bytes;
  BackwardCall work{p, call.scratch, 0, 1, nullptr, nullptr};
  run_threads(set.delta, work, p.B * p.H * p.T * kDeltaLanes, call, "launching attention's delta");
  if (const BackwardKernel* kernel = plan.delta_of_weights) {
    work.tiles = ceil_div(p.T * (p.H / p.K), kernel->rows);
    run(kernel->run, work, p.B * p.K * work.tiles, kernel->shared, call,
        "launching attention's delta of weights");
  }
  if (p.d_mask) mask_gradient(p, plan.of_mask, plan.mask, call, call.scratch, partial);
  for (const GradientStep& step : plan.steps) {
    work.p.d_q.data = step.d_q ? p.d_q.data : nullptr;
    work.p.d_k.data = step.d_k ? p.d_k.data : nullptr;
    work.p.d_v.data = step.d_v ? p.d_v.data : nullptr;
    work.tiles = step.tiles, work.splits = step.splits;
    work.partial = partial;  // d_q, or d_k and d_v
    work.partial_d_v = partial + step.d_v_at;
    run(step.kernel->run, work, step.blocks, step.kernel->shared, call, "launching attention's gradients");
    if (step.splits == 1) continue;
    const double kept = p.dropout < 1 ? 1 / (1 - p.dropout) : 0;
    if (step.d_q) sum_splits(p, step, p.d_q, p.H, p.T, p.D, p.scale, partial, call);
    if (step.d_k) sum_splits(p, step, p.d_k, p.K, p.S, p.D, p.scale, partial, call);
    if (step.d_v) sum_splits(p, step, p.d_v, p.K, p.S, p.V, kept, work.partial_d_v, call);
  }
}

}  // namespace pyrnn::attention::cuda
