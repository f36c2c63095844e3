// The chooser: how many threads share a team's units, and into how many slices the batch falls.
//
// More members: each reads a smaller part of the weights, which then may stay in its own cache, at the price
// of a barrier a step. More slices: no barrier, but every slice reads all weights for fewer rows.
// The constants are estimates for a core with AVX-512, checked by hand with forced splits
// (`pyrnn.ops._cpu.forced_members`); only their ratios matter.
#include <algorithm>

#include "../common/dispatch.h"
#include "engine.h"

namespace pyrnn {
namespace {

constexpr double kBarrierCycles = 600;      // two cores, with the imbalance that it waits for
constexpr double kL2BytesPerCycle = 28;     // weights that stay in the core's own cache
constexpr double kSharedBytesPerCycle = 9;  // weights that come from further away
constexpr double kLanesPerCycle = 16;       // multiply-adds
constexpr double kGateCycles = 3.0;         // gate maths of one gate of one unit and row

int gates(int cell) { return cell == kLstm ? 4 : cell == kGru ? 3 : 1; }
int element_bytes(int dtype) { return dtype == kFloat64 ? 8 : dtype == kFloat32 ? 4 : 2; }

// Cycles for one step of all teams.
double step_cycles(const Problem& p, int groups, int members, int slices) {
  const double rows = double((p.B + slices - 1) / slices), G = gates(p.cell);
  const double units =
      std::max<double>(16, double(p.H + members - 1) / members);  // of one member, whole panels
  const double weights = G * units * double(p.P) * element_bytes(p.dtype);
  const double bandwidth = weights < 0.75 * double(l2_bytes()) ? kL2BytesPerCycle : kSharedBytesPerCycle;
  const double product = rows * G * units * double(p.P) / kLanesPerCycle * element_bytes(p.dtype) / 4;
  const double team = std::max(product, weights / bandwidth) + rows * G * units * kGateCycles / 4 +
                      (members > 1 ? kBarrierCycles : 0);
  const int64_t teams = p.D * slices;
  return team * double((teams + groups - 1) / groups);
}

}  // namespace

Split choose_split(const Problem& p, int threads, int members) {
  Split best{1, 1, 1, ""};
  double cheapest = 0;
  for (int m = 1; m <= threads; m++) {
    if (threads % m || (members && m != members)) continue;
    const int groups = threads / m;
    const int slices = int(std::clamp<int64_t>((groups + p.D - 1) / p.D, 1, std::max<int64_t>(p.B, 1)));
    const int used = int(std::min<int64_t>(groups, p.D * slices));
    const double cycles = step_cycles(p, used, m, slices);
    if (best.why.empty() || cycles < cheapest) {
      cheapest = cycles;
      best = {used, m, slices, ""};
      best.why = threads == 1 ? "one thread"
                 : members    ? "forced"
                 : m == 1     ? "splitting the batch or the directions costs no barrier"
                              : "splitting the units keeps more of the weights in each core's cache";
    }
  }
  return best;
}

}  // namespace pyrnn
