#include "pointwise/cuda/engine.h"

#include "common/cuda/check.h"
#include "common/integers.h"
#include "pointwise/check.h"
#include "pointwise/cuda/kernels.h"

namespace pyrnn::pointwise::cuda {
namespace {

constexpr int64_t kBlocksPerSm = 2048 / kThreads;  // as many threads as a multiprocessor holds

template <class Problem>
const KernelSet& kernels_of(const Problem& p) {
  const KernelSet* sets[kDTypes] = {&pyrnn_cuda_pointwise_float32, &pyrnn_cuda_pointwise_bfloat16,
                                    &pyrnn_cuda_pointwise_float64, &pyrnn_cuda_pointwise_float16};
  require(p.dtype >= 0 && p.dtype < kDTypes, "unknown dtype");
  check(p);
  return *sets[p.dtype];
}

// Whether all start at multiples of 16 bytes.
template <class... T>
bool aligned(const T*... tensors) {
  return ((reinterpret_cast<uint64_t>(tensors) % 16 == 0) && ...);
}

LaunchShape shape_of(int64_t blocks, int64_t layers = 1) {
  return {dim3(unsigned(blocks), unsigned(layers)), dim3(kThreads), 0, false, 0};
}

int64_t most_blocks(const Launch& launch) { return device_properties(launch.device).sms * kBlocksPerSm; }

void run(const DropoutProblem& p, LaunchDropout kernel, int64_t elements, const Launch& launch) {
  if (p.count == 0) return;
  const DropoutCall call{p.x, p.other, p.out, p.count, Drop(p.seed, p.p), aligned(p.x, p.other, p.out)};
  const int64_t blocks = min(ceil_div(p.count, elements * kThreads), most_blocks(launch));
  check_cuda(kernel(call, shape_of(blocks), launch.stream), "launching dropout");
}

NormCall call_of(const ResidualNormProblem& p, int64_t elements) {
  const bool starts = aligned(p.x, p.residual, p.weight, p.bias, p.out, p.summed) &&
                      aligned(p.g, p.g_summed, p.d_x, p.d_residual);
  return {p, rows_of_slice(p), Drop(p.seed, p.p), starts && p.features % elements == 0};
}

void run_rows(const NormCall& call, const LaunchNorm (&kernels)[2], const Launch& launch) {
  const bool by_block = call.problem.features > kWarpFeatures;
  const int64_t blocks = by_block ? call.problem.rows : ceil_div(call.problem.rows, kWarps);
  const LaunchShape shape = shape_of(min(blocks, most_blocks(launch)));
  check_cuda(kernels[by_block](call, shape, launch.stream), "launching a normalisation");
}

}  // namespace

void dropout_forward(const DropoutProblem& p, const Launch& launch) {
  const KernelSet& set = kernels_of(p);
  check_forward(p);
  run(p, set.forward[p.activation], set.elements, launch);
}

void dropout_backward(const DropoutProblem& p, const Launch& launch) {
  const KernelSet& set = kernels_of(p);
  check_backward(p);
  run(p, set.backward[p.activation], set.elements, launch);
}

void residual_norm_forward(const ResidualNormProblem& p, const Launch& launch) {
  const KernelSet& set = kernels_of(p);
  check_forward(p);
  run_rows(call_of(p, set.elements), set.norm_forward, launch);
}

void residual_norm_backward(const ResidualNormProblem& p, const Launch& launch) {
  const KernelSet& set = kernels_of(p);
  check_backward(p);
  const NormCall call = call_of(p, set.elements);
  if (p.d_x || p.d_residual) run_rows(call, set.norm_backward, launch);
  if (!p.partial) return;
  const LaunchShape partial = shape_of(ceil_div(p.features, 32 * set.elements), p.slices);
  check_cuda(set.norm_partial(call, partial, launch.stream), "launching the gradients of weight and bias");
  const LaunchShape sums = shape_of(ceil_div(p.features, 32), 2);
  check_cuda(set.norm_sums(call, sums, launch.stream), "launching the sums of slices");
}

void rotary(const RotaryProblem& p, const Launch& launch) {
  const KernelSet& set = kernels_of(p);
  const int64_t rows = p.size0 * p.size1 * p.size2, pieces = ceil_div(p.features, set.elements);
  int64_t lanes = 1;
  while (lanes < pieces && lanes < 32) lanes *= 2;
  const int64_t blocks = min(ceil_div(rows * lanes, kThreads), most_blocks(launch));
  const int64_t step = blocks * kThreads / lanes;
  const bool starts = aligned(p.x, p.out) && p.features % set.elements == 0 && p.x0 % set.elements == 0 &&
                      p.x1 % set.elements == 0 && p.x2 % set.elements == 0;
  const RotaryCall call{
      p, lanes, step, step / p.size2 / p.size1, step / p.size2 % p.size1, step % p.size2, starts};
  check_cuda(set.rotary(call, shape_of(blocks), launch.stream), "launching a rotary embedding");
}

}  // namespace pyrnn::pointwise::cuda
