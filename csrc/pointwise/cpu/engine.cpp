#include "pointwise/cpu/engine.h"

#include <algorithm>

#include "common/dispatch.h"
#include "common/workspace.h"
#include "pointwise/check.h"

namespace pyrnn::pointwise {
namespace {

constexpr int64_t kRotaryTask = 1 << 14;  // features

template <class Problem>
const Kernels& kernels_of(const Problem& p) {
  require(p.dtype >= 0 && p.dtype < kCpuDTypes, "unknown dtype");
  check(p);
  return *pyrnn::kernels(int(p.dtype)).pointwise;
}

void run(const DropoutProblem& p, DropoutPass pass, int threads) {
  const int64_t tasks = (p.count + kDropoutTask - 1) / kDropoutTask;
  for_tasks(tasks, threads, [&](int64_t task, int) {
    pass(p, task * kDropoutTask, std::min((task + 1) * kDropoutTask, p.count));
  });
}

}  // namespace

void dropout_forward(const DropoutProblem& p, int threads) {
  const Kernels& found = kernels_of(p);
  check_forward(p);
  run(p, found.forward[p.activation], threads);
}

void dropout_backward(const DropoutProblem& p, int threads) {
  const Kernels& found = kernels_of(p);
  check_backward(p);
  run(p, found.backward[p.activation], threads);
}

void residual_norm_forward(const ResidualNormProblem& p, int threads) {
  const Kernels& found = kernels_of(p);
  check_forward(p);
  for_tasks((p.rows + kNormRows - 1) / kNormRows, threads, [&](int64_t task, int) {
    found.norm_forward(p, task * kNormRows, std::min((task + 1) * kNormRows, p.rows));
  });
}

void residual_norm_backward(const ResidualNormProblem& p, int threads) {
  const Kernels& found = kernels_of(p);
  check_backward(p);
  const int64_t rows = rows_of_slice(p);
  for_tasks(p.slices, threads, [&](int64_t slice, int) {
    found.norm_backward(p, slice, std::min(slice * rows, p.rows), std::min((slice + 1) * rows, p.rows));
  });
  if (p.partial) found.norm_sums(p);
}

void rotary(const RotaryProblem& p, int threads) {
  const Kernels& found = kernels_of(p);
  const int64_t rows = p.size0 * p.size1 * p.size2;
  const int64_t task_rows = std::max<int64_t>(1, kRotaryTask / p.features);
  for_tasks((rows + task_rows - 1) / task_rows, threads, [&](int64_t task, int) {
    found.rotary(p, task * task_rows, std::min((task + 1) * task_rows, rows));
  });
}

}  // namespace pyrnn::pointwise
