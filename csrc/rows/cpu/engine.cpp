#include "rows/cpu/engine.h"

#include <algorithm>

#include "common/dispatch.h"
#include "common/workspace.h"

namespace pyrnn::rows {
namespace {

constexpr int64_t kTask = 64;  // features: whole vectors of every instruction set
// Weights up to which a second thread takes longer to come than the first to read them all.
constexpr int64_t kLittleWork = 1 << 17;

}  // namespace

void linear(int dtype, const Linear& p, int threads) {
  const Kernels& found = *pyrnn::kernels(dtype).rows;
  char* scratch = workspace(size_t(found.scratch_bytes(p)));
  found.prepare(p, scratch);
  if (p.n * p.K <= kLittleWork || threads == 1) return found.linear(p, scratch, 0, p.n);
  for_tasks((p.n + kTask - 1) / kTask, threads, [&](int64_t task, int) {
    found.linear(p, scratch, task * kTask, std::min((task + 1) * kTask, p.n));
  });
}

void norm(int dtype, const Norm& p) { pyrnn::kernels(dtype).rows->norm(p); }

}  // namespace pyrnn::rows
