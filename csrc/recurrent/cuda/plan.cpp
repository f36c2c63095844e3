#include "plan.h"

#include <algorithm>
#include <stdexcept>

namespace pyrnn {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
size_t aligned(size_t bytes) { return size_t(round_up(int64_t(bytes), 256)); }

std::string kib(size_t bytes) { return std::to_string((bytes + 1023) / 1024) + " KiB"; }

// The slices and rows that fill the device with one wave of blocks, or nothing if a single slice is too much.
bool fit(WalkPlan& plan, const WalkSizes& n, const Device& device) {
  const int64_t blocks_of_slice = plan.unit_blocks * n.D;
  for (const WalkKernel& walk : plan.kernels->walk) {
    if (plan.shared + walk.sums_bytes > size_t(device.shared_per_block)) continue;
    const int64_t capacity = int64_t(walk.blocks_per_sm(plan.shared + walk.sums_bytes)) * device.sms;
    const int64_t most = capacity / blocks_of_slice;
    if (most == 0) continue;
    const int64_t slices = std::min(most, ceil_div(n.B, kTileRows));
    plan.rows = round_up(ceil_div(n.B, slices), walk.rows);
    plan.slices = ceil_div(n.B, plan.rows);
    plan.walk = &walk;
    if (plan.rows == walk.rows) break;  // few rows a slice: the kernel for few is enough
  }
  if (plan.walk) plan.shared += plan.walk->sums_bytes;
  return plan.walk != nullptr;
}

}  // namespace

const CudaKernelSet& cuda_kernels(int dtype) {
  static const CudaKernelSet* const sets[kCudaDTypes] = {&pyrnn_cuda_float32, &pyrnn_cuda_bfloat16,
                                                         &pyrnn_cuda_float64, &pyrnn_cuda_float16};
  if (dtype < 0 || dtype >= kCudaDTypes) throw std::invalid_argument("pyrnn: unknown dtype");
  return *sets[dtype];
}

WalkPlan plan_walk(const WalkSizes& n, bool backward, const Device& device, CudaEngine engine) {
  if (n.cell < 0 || n.cell >= kCellKinds || n.T < 1 || n.B < 1 || n.H < 1 || n.D < 1 || n.D > 2)
    throw std::invalid_argument("pyrnn: unknown cell or empty problem");
  const CudaKernelSet& set = cuda_kernels(n.dtype);
  WalkPlan plan{};
  plan.kernels = &set.cell[n.cell].pass[backward];
  plan.unit_blocks = ceil_div(n.H, kUnits);
  plan.k_slot = round_up(n.H, set.k_block);
  const int64_t K = plan.k_slot * plan.kernels->terms;
  const size_t weights = size_t(K) * plan.kernels->gates * kUnits * set.element;  // of one block
  const std::string blocks =
      std::to_string(plan.unit_blocks * n.D) + " blocks of " + std::to_string(kUnits) + " units";

  bool persistent = engine != kStep && device.cooperative;
  if (persistent && engine != kPersistentStreamed) {
    plan.shared = carve_bytes<unsigned char>(weights);
    plan.resident = fit(plan, n, device);
    if (plan.resident) plan.why = "the weights of a block, " + kib(weights) + ", stay in its shared memory";
  }
  if (persistent && !plan.resident) {
    plan.shared = 0;
    persistent = fit(plan, n, device);
    if (persistent)
      plan.why = "weights are read again in each step: " + kib(weights) +
                 " a block do not stay in shared memory (" + kib(size_t(device.shared_per_block)) + ")";
    else
      plan.why =
          blocks + " do not run at the same time on " + std::to_string(device.sms) + " multiprocessors";
  }
  if (!persistent) {
    if (engine == kPersistent || engine == kPersistentStreamed)
      throw std::invalid_argument("pyrnn: the persistent engine does not fit: " +
                                  (device.cooperative ? plan.why : "no cooperative launches on this device"));
    if (engine == kStep)
      plan.why = "the step engine was asked for";
    else if (!device.cooperative)
      plan.why = "the device has no cooperative launches";
    plan.walk = &plan.kernels->walk[n.B > kTileRows];
    plan.rows = plan.walk->rows;
    plan.slices = ceil_div(n.B, plan.rows);
    plan.shared = plan.walk->sums_bytes;
  }
  plan.engine = persistent ? kPersistent : kStep;

  plan.exchange_at = aligned(size_t(n.D * plan.unit_blocks) * weights);
  plan.carry_at = plan.exchange_at + aligned(size_t(n.D * plan.slices * 2 * K * plan.rows) * set.element);
  plan.arrivals_at =
      plan.carry_at + aligned(size_t(n.D * plan.unit_blocks * plan.slices * plan.rows * kUnits) * set.sum);
  plan.bytes = plan.arrivals_at + aligned(size_t(n.D * plan.slices) * sizeof(unsigned));
  return plan;
}

}  // namespace pyrnn
