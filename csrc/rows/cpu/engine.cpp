#include "rows/cpu/engine.h"

#include <algorithm>

#include "common/dispatch.h"
#include "common/integers.h"
#include "common/workspace.h"

namespace pyrnn::rows {
namespace {

constexpr int64_t kTask = 64;  // features: whole vectors of every instruction set
// Weights up to which a second thread takes longer to come than the first to read them all.
constexpr int64_t kLittleWork = 1 << 17;
constexpr int64_t kRowsOfOneRead = 16;  // up to about which the rows' arithmetic hides behind reading

}  // namespace

void linear(int dtype, const Linear& p, int threads) {
  const Kernels& found = *pyrnn::kernels(dtype).rows;
  const int64_t shared = round_up(found.scratch_bytes(p), 64), panel = round_up(found.panel_bytes(p), 64);
  if (p.n * p.K * ceil_div(p.rows, kRowsOfOneRead) <= kLittleWork) threads = 1;
  char* scratch = workspace(size_t(shared + threads * panel));
  found.prepare(p, scratch);
  if (threads == 1) return found.linear(p, scratch, scratch + shared, 0, p.n);
  for_tasks((p.n + kTask - 1) / kTask, threads, [&](int64_t task, int thread) {
    char* own = scratch + shared + thread * panel;
    found.linear(p, scratch, own, task * kTask, std::min((task + 1) * kTask, p.n));
  });
}

void norm(int dtype, const Norm& p) { pyrnn::kernels(dtype).rows->norm(p); }

}  // namespace pyrnn::rows
