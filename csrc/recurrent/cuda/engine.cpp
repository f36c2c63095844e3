#include "recurrent/cuda/engine.h"

#include <algorithm>
#include <stdexcept>

#include "common/cuda/check.h"
#include "common/cuda/grid_barrier_probe.h"
#include "recurrent/cells/table.h"

namespace pyrnn::recurrent::cuda {
namespace {

static_assert(kBlockThreads == kGridBarrierThreads, "a barrier is measured with the blocks that it serves");
constexpr int kMinCapability = 8;  // major

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pyrnn: ") + what);
}

const CellInfo& cell_of(const Sizes& n) {
  require(n.cell >= 0 && n.cell < kCellKinds, "unknown cell");
  return kCells[n.cell];
}

void check_pointers(const Sizes& n, bool backward, const Recurrence& w, const Launch& call) {
  const CellInfo& cell = cell_of(n);
  require(call.scratch, "no scratch memory");
  require(!w.step_offset || w.lengths, "packed rows need lengths");
  require(w.y.data || (backward && cell.has_c), "output without storage");
  for (int64_t d = 0; d < n.D; d++) {
    const Direction& direction = w.direction[d];
    require(direction.w_hh, "weights without storage");
    require(direction.s0 >= 0 && direction.s0 <= direction.s1 && direction.s1 <= n.T,
            "segment outside the pass");
    if (backward) {
      require(direction.d_gates, "gradients of the gates without storage");
      require(direction.saved || !cell.saved, "nothing was saved for the backward pass");
    } else {
      require(direction.gx && direction.last_h, "input products or final state without storage");
      require(direction.last_c || !cell.has_c, "final cell state without storage");
    }
  }
}

}  // namespace

std::string why_unavailable() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) return std::string("CUDA cannot start: ") + cudaGetErrorString(error);
  if (devices == 0) return "there is no CUDA device";
  for (int i = 0; i < devices; i++) {
    const Device device = device_properties(i);
    if (device.major < kMinCapability)
      return "device " + std::to_string(i) + " has compute capability " + std::to_string(device.major) + "." +
             std::to_string(device.minor) + ", the kernels need " + std::to_string(kMinCapability) +
             ".0: hide it with CUDA_VISIBLE_DEVICES";
  }
  return "";
}

void run(const Sizes& n, bool backward, Recurrence w, const Launch& call) {
  check_pointers(n, backward, w, call);
  const Plan& plan = cached_plan(n, backward, call.device, call.engine);
  char* scratch = static_cast<char*>(call.scratch);
  w.unit_blocks = plan.unit_blocks, w.slices = plan.slices, w.rows = plan.rows, w.k_slot = plan.k_slot;
  w.resident = plan.resident, w.grid_sync = plan.engine != kStep;
  w.weights = scratch;
  w.exchange = scratch + plan.exchange_at;
  w.carry = scratch + plan.carry_at;
  w.arrivals = reinterpret_cast<unsigned*>(scratch + plan.arrivals_at);

  if (call.begin) {
    const int64_t numbers = kUnits * plan.k_slot * plan.kernels->gates * plan.kernels->terms;
    const int64_t parts = std::clamp<int64_t>(numbers / (8 * kBlockThreads), 1, kUnits);
    const dim3 grid(unsigned(parts), unsigned(plan.unit_blocks), unsigned(n.D));
    check_cuda(plan.kernels->prepare(w, {grid, dim3(kBlockThreads), 0, false, 0}, call.stream),
               "preparing the pass");
  }
  LaunchShape shape{dim3(unsigned(plan.unit_blocks), unsigned(plan.slices), unsigned(n.D)),
                    dim3(kBlockThreads), plan.shared, plan.engine == kPersistent,
                    plan.engine == kCluster ? int(plan.unit_blocks) : 0};
  int64_t end[2] = {0, 0}, begin = n.T;
  for (int64_t d = 0; d < n.D; d++) {
    // d_h0 takes one more product than there are steps.
    if (backward && w.direction[d].s1 == n.T && w.direction[d].last_h) w.direction[d].s1++;
    end[d] = w.direction[d].s1;
    begin = std::min(begin, w.direction[d].s0);
  }
  if (plan.engine != kStep) {
    check_cuda(plan.kernel->launch(w, shape, call.stream), "launching the recurrence");
    return;
  }
  for (int64_t s = begin; s < std::max(end[0], end[1]); s++) {
    Recurrence one = w;
    for (int64_t d = 0; d < n.D; d++) {
      Direction& direction = one.direction[d];
      const bool in_segment = s >= w.direction[d].s0 && s < end[d];
      direction.s0 = s, direction.s1 = in_segment ? s + 1 : s;
    }
    check_cuda(plan.kernel->launch(one, shape, call.stream), "launching a step of the recurrence");
  }
}

void replay(const Sizes& n, const Recurrence& w, const Launch& call) {
  const CellInfo& cell = cell_of(n);
  for (int64_t d = 0; d < n.D; d++)
    require(w.direction[d].gx && w.direction[d].gh && (w.direction[d].saved || !cell.saved),
            "replay without its products");
  require(!cell.has_c || (w.workspace && w.checkpoint_every > 0), "replay without kept cell states");
  const int64_t blocks = (n.B * n.H + kBlockThreads - 1) / kBlockThreads;
  const LaunchShape shape{dim3(unsigned(blocks), 1, unsigned(n.D)), dim3(kBlockThreads), 0, false, 0};
  check_cuda(cuda_kernels(n.dtype).cell[n.cell].replay(w, shape, call.stream), "computing the gates again");
}

}  // namespace pyrnn::recurrent::cuda
