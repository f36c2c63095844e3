#include "rows/cpu/engine.h"

#include <algorithm>

#include "common/dispatch.h"
#include "common/integers.h"
#include "common/workspace.h"

namespace pyrnn::rows {
namespace {

// Weights up to which a second thread takes longer to come than the first to read them all.
constexpr int64_t kLittleWork = 1 << 17;
constexpr int64_t kPreparedRows = 64;   // of a task
constexpr int64_t kRowsOfOneRead = 16;  // up to about which the rows' arithmetic hides behind reading

}  // namespace

void linear(int dtype, const Linear& p, int threads) {
  const Kernels& found = *pyrnn::kernels(dtype).rows;
  const int64_t shared = round_up(found.scratch_bytes(p), 64), panel = round_up(found.panel_bytes(p), 64);
  if (p.n * p.K * ceil_div(p.rows, kRowsOfOneRead) <= kLittleWork) threads = 1;
  char* scratch = workspace(size_t(shared + threads * panel));
  if (shared)
    for_tasks(ceil_div(p.rows, kPreparedRows), threads, [&](int64_t task, int) {
      found.prepare(p, scratch, task * kPreparedRows, std::min((task + 1) * kPreparedRows, p.rows));
    });
  for_tasks(ceil_div(p.n, kTask), threads, [&](int64_t task, int thread) {
    const int64_t end = std::min((task + 1) * kTask, p.n);
    found.linear(p, scratch, scratch + shared + thread * panel, task * kTask, end,
                 threads == 1 ? std::min(end + kTask, p.n) : end);
  });
}

void weight_gradient(int dtype, const WeightGradient& p, int threads) {
  const Kernels& found = *pyrnn::kernels(dtype).rows;
  const int64_t shared = round_up(found.gradient_scratch_bytes(p), 64);
  const int64_t own = round_up(found.gradient_own_bytes(p), 64), block = found.gradient_block(p);
  char* scratch = workspace(size_t(shared + threads * own));
  for (int64_t first = 0; first < p.rows; first += kSegment) {
    for_tasks(ceil_div(p.K, kPackTask), threads,
              [&](int64_t task, int) { found.pack_input(p, scratch, first, task); });
    for_tasks(ceil_div(p.n, block), threads, [&](int64_t task, int thread) {
      found.weight_gradient(p, scratch, scratch + shared + thread * own, first, task * block,
                            std::min((task + 1) * block, p.n));
    });
  }
}

void norm(int dtype, const Norm& p) { pyrnn::kernels(dtype).rows->norm(p); }

}  // namespace pyrnn::rows
