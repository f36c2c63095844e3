#include "loss/cpu/engine.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "common/dispatch.h"
#include "common/workspace.h"

namespace pyrnn::loss {
namespace {

constexpr int64_t kTask = 1 << 15;  // logits

void check(const Problem& p) {
  if (p.dtype < 0 || p.dtype >= kCpuDTypes) throw std::invalid_argument("pyrnn: unknown dtype");
  if (p.rows < 0 || p.V < 1) throw std::invalid_argument("pyrnn: no classes");
  if (!p.total || (p.rows && !(p.logits && p.targets && p.losses)))
    throw std::invalid_argument("pyrnn: tensor without storage");
  for (int64_t r = 0; r < p.rows; r++)
    if (p.targets[r] < 0 || p.targets[r] >= p.V)
      throw std::out_of_range("target " + std::to_string(p.targets[r]) + " lies outside [0, " +
                              std::to_string(p.V) + "), the classes that there are logits for");
}

}  // namespace

void cross_entropy(const Problem& p, int threads) {
  check(p);
  const Kernels& found = *pyrnn::kernels(int(p.dtype)).loss;
  const int64_t rows = std::max<int64_t>(1, kTask / p.V);  // of a task
  for_tasks((p.rows + rows - 1) / rows, threads,
            [&](int64_t task, int) { found.rows(p, task * rows, std::min((task + 1) * rows, p.rows)); });
  found.total(p);
}

}  // namespace pyrnn::loss
