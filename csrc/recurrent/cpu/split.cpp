// The heuristic: how many threads divide the units of a slice, and into how many slices the batch falls.
//
// More threads a group: each reads a smaller part of the weights, which then may stay in its own cache, at
// the price of a barrier a step. More slices: no barrier, but every slice reads all weights for fewer rows.
// The constants were fitted to forced splits of 48 shapes (`dev.py bench split`) on two cores with AVX-512;
// only their ratios matter.
#include <algorithm>

#include "common/dispatch.h"
#include "recurrent/cells/table.h"
#include "recurrent/cpu/engine.h"

namespace pyrnn::recurrent {
namespace {

constexpr double kBarrierCycles = 600;
constexpr double kImbalance = 1.06;    // a group waits for its slowest thread at every barrier
constexpr double kLanesPerCycle = 16;  // multiply-adds
constexpr double kGateCycles = 3.0;    // cell update, for one gate of one unit and row

// Weights that fit neither the core's own cache nor, the parts of all ranks together, the shared one cost
// time beside the product, by bytes a cycle. The backward product reads them in longer and narrower panels,
// which hides less of it.
constexpr double kForwardBytesPerCycle = 128, kBackwardBytesPerCycle = 16;
constexpr double kFarBytesPerCycle = 8;
constexpr double kFarCaches = 8;  // the shared cache's part of one core, in second-level caches

int element_bytes(int dtype) { return dtype == kFloat64 ? 8 : dtype == kFloat32 ? 4 : 2; }

// Cycles for one step of all slices.
double step_cycles(const Problem& p, Pass pass, int groups, int group_size, int slices) {
  const double rows = double((p.B + slices - 1) / slices), G = kCells[p.cell].gates;
  const double units =
      std::max<double>(16, double(p.H + group_size - 1) / group_size);  // of one rank, whole panels
  const double weights = G * units * double(p.P) * element_bytes(p.dtype), cache = double(l2_bytes());
  const double bandwidth = weights * group_size > kFarCaches * cache ? kFarBytesPerCycle
                           : pass == Pass::forward                   ? kForwardBytesPerCycle
                                                                     : kBackwardBytesPerCycle;
  const double transfer = weights < 0.75 * cache ? 0 : weights / bandwidth;
  const double product = rows * G * units * double(p.P) / kLanesPerCycle * element_bytes(p.dtype) / 4;
  const double work = product + transfer + rows * G * units * kGateCycles / 4;
  const double slice = group_size > 1 ? work * kImbalance + kBarrierCycles : work;
  const int64_t all = p.D * slices;
  return slice * double((all + groups - 1) / groups);
}

}  // namespace

Split choose_split(const Problem& p, Pass pass, int threads, int group_size) {
  Split best{1, 1, 1, ""};
  double cheapest = 0;
  for (int m = 1; m <= threads; m++) {
    if (threads % m || (group_size && m != group_size)) continue;
    const int groups = threads / m;
    const int slices = int(std::clamp<int64_t>((groups + p.D - 1) / p.D, 1, std::max<int64_t>(p.B, 1)));
    const int used = int(std::min<int64_t>(groups, p.D * slices));
    const double cycles = step_cycles(p, pass, used, m, slices);
    if (best.why.empty() || cycles < cheapest) {
      cheapest = cycles;
      best = {used, m, slices, ""};
      best.why = threads == 1 ? "one thread"
                 : group_size ? "forced"
                 : m == 1     ? "splitting the batch or the directions costs no barrier"
                              : "splitting the units lets each thread read a part of the weights";
    }
  }
  return best;
}

}  // namespace pyrnn::recurrent
