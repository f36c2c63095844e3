#include "recurrent/cuda/plan.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <stdexcept>
#include <tuple>

#include "common/cuda/shared_memory.h"
#include "common/integers.h"

namespace pyrnn::recurrent::cuda {
namespace {

size_t aligned(size_t bytes) { return size_t(round_up(int64_t(bytes), 256)); }

constexpr int64_t kMaxSlices = 65535;  // the limit of a grid's second dimension

std::string kib(size_t bytes) { return std::to_string((bytes + 1023) / 1024) + " KiB"; }

// What every engine starts from.
struct Bounds {
  const Sizes& n;
  const Device& device;
  size_t weights;  // bytes of one block
};

void take(Plan& plan, const Kernel& kernel, Engine engine, bool resident, int64_t rows, const Bounds& of) {
  plan.kernel = &kernel, plan.engine = engine, plan.resident = resident;
  plan.shared = kernel.shared + (resident ? tile_bytes<unsigned char>(of.weights) : 0);
  plan.rows = std::max(rows, round_up(ceil_div(of.n.B, kMaxSlices), kernel.rows));
  if (engine == kCluster && plan.rows > kernel.rows)
    throw std::logic_error("pyrnn: the exchange of a cluster has no room for " + std::to_string(plan.rows) +
                           " rows");
  plan.slices = ceil_div(of.n.B, plan.rows);
}

// One cluster a direction and slice; clusters know nothing of each other, so the rest may wait for their
// turn.
bool fit_clusters(Plan& plan, const Bounds& of) {
  const int64_t blocks = ceil_div(plan.k_slot, kUnits);  // the padding has an owner too
  if (of.device.major < 9 || blocks > kLargestCluster) return false;
  for (const Kernel& kernel : plan.kernels->cluster) {
    const int64_t at_once =
        kernel.capacity(kernel.shared + tile_bytes<unsigned char>(of.weights), int(blocks));
    // The exchange lies in shared memory, with room for the kernel's rows: more rows need more slices.
    if (at_once == 0 || ceil_div(of.n.B, kernel.rows) > kMaxSlices) continue;
    plan.unit_blocks = blocks;
    take(plan, kernel, kCluster, true, kernel.rows, of);
    if (plan.slices * of.n.D <= at_once) break;  // few rows a slice, and all at once
  }
  return plan.kernel != nullptr;
}

// All blocks at once: the slices and rows that fill the device.
bool fit_grid(Plan& plan, const Bounds& of, bool resident) {
  for (const Kernel& kernel : plan.kernels->grid) {
    const size_t shared = kernel.shared + (resident ? tile_bytes<unsigned char>(of.weights) : 0);
    const int64_t at_once = int64_t(kernel.capacity(shared, 1)) * of.device.sms;
    const int64_t max_slices = at_once / (plan.unit_blocks * of.n.D);
    if (max_slices == 0) continue;
    const int64_t slices = std::min(max_slices, ceil_div(of.n.B, kTileRows));
    take(plan, kernel, kPersistent, resident, round_up(ceil_div(of.n.B, slices), kernel.rows), of);
    if (plan.rows == kernel.rows) break;  // few rows a slice: the kernel for few is enough
  }
  return plan.kernel != nullptr;
}

}  // namespace

const KernelSet& cuda_kernels(int dtype) {
  static const KernelSet* const sets[kDTypes] = {&pyrnn_cuda_float32, &pyrnn_cuda_bfloat16,
                                                 &pyrnn_cuda_float64, &pyrnn_cuda_float16};
  if (dtype < 0 || dtype >= kDTypes) throw std::invalid_argument("pyrnn: unknown dtype");
  return *sets[dtype];
}

Plan make_plan(const Sizes& n, bool backward, const Device& device, Engine engine) {
  if (n.cell < 0 || n.cell >= kCellKinds || n.T < 1 || n.B < 1 || n.H < 1 || n.D < 1 || n.D > 2)
    throw std::invalid_argument("pyrnn: unknown cell or empty problem");
  const KernelSet& set = cuda_kernels(n.dtype);
  Plan plan{};
  plan.kernels = &set.cell[n.cell].pass[backward];
  plan.unit_blocks = ceil_div(n.H, kUnits);
  plan.k_slot = round_up(n.H, set.k_block);
  const int64_t K = plan.k_slot * plan.kernels->terms;
  const size_t weights = size_t(K) * plan.kernels->gates * kUnits * set.element;  // of one block
  const Bounds of{n, device, weights};
  const std::string block_kib = kib(weights);

  if ((engine == kChoose || engine == kCluster) && fit_clusters(plan, of)) {
    plan.why = std::to_string(plan.unit_blocks) + " blocks hold all weights, " + block_kib +
               " each in shared memory: they are one cluster";
  } else if (engine == kCluster) {
    throw std::invalid_argument(
        "pyrnn: the cluster engine does not fit: it needs compute capability 9 and at most " +
        std::to_string(kLargestCluster) + " blocks of " + std::to_string(kUnits) +
        " units whose weights stay in shared memory, and at most " + std::to_string(kMaxSlices) +
        " slices of the batch");
  } else if (engine == kStep) {
    plan.why = "the step engine was asked for";
  } else if (!device.cooperative) {
    plan.why = "the device has no cooperative launches";
  } else if (engine != kPersistentStreamed && fit_grid(plan, of, true)) {
    plan.why = "the weights of a block, " + block_kib + ", stay in its shared memory";
  } else if (fit_grid(plan, of, false)) {
    plan.why = "weights are read again in each step: " + block_kib +
               " a block do not stay in shared memory (" + kib(size_t(device.shared_per_block)) + ")";
  } else {
    plan.why = std::to_string(plan.unit_blocks * n.D) + " blocks of " + std::to_string(kUnits) +
               " units do not run at the same time on " + std::to_string(device.sms) + " multiprocessors";
  }
  if (!plan.kernel) {
    if (engine == kPersistent || engine == kPersistentStreamed)
      throw std::invalid_argument("pyrnn: the persistent engine does not fit: " + plan.why);
    const Kernel& kernel = plan.kernels->grid[n.B > kTileRows];
    take(plan, kernel, kStep, false, kernel.rows, of);
  }

  plan.exchange_at = aligned(size_t(n.D * plan.unit_blocks) * weights);
  plan.carry_at = plan.exchange_at + aligned(size_t(n.D * plan.slices * 2 * K * plan.rows) * set.element);
  plan.arrivals_at =
      plan.carry_at + aligned(size_t(n.D * plan.unit_blocks * plan.slices * plan.rows * kUnits) * set.sum);
  plan.bytes = plan.arrivals_at + aligned(size_t(n.D * plan.slices) * sizeof(unsigned));
  return plan;
}

const Plan& cached_plan(const Sizes& n, bool backward, int device, Engine engine) {
  // T and checkpoint_every do not matter to a plan.
  using Key = std::tuple<int, int, int64_t, int64_t, int64_t, bool, int, int, int, int>;
  static std::map<Key, Plan> plans;
  static std::mutex mutex;
  const Device of = device_properties(device);
  const Key key{n.cell, n.dtype, n.B, n.H, n.D, backward, device, engine, of.sms, of.shared_per_block};
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = plans.find(key);
  if (found != plans.end()) return found->second;
  return plans.emplace(key, make_plan(n, backward, of, engine)).first->second;
}

}  // namespace pyrnn::recurrent::cuda
