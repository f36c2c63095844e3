#include "search/cpu/engine.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "common/dispatch.h"
#include "common/workspace.h"

namespace pyrnn::search {
namespace {

// Logits that one thread is done with before a second one has come.
constexpr int64_t kTask = 1 << 16;

}  // namespace

void choose(int dtype, const Choice& p, int threads) {
  if (dtype < 0 || dtype >= kCpuDTypes) throw std::invalid_argument("pyrnn: unknown dtype");
  if (p.rows < 0 || p.V < 1 || p.width < 1 || p.width > p.V || p.width > kMostWidth)
    throw std::invalid_argument("pyrnn: sizes of a search that do not fit together");
  if (p.rows && !(p.raw && p.allowed)) throw std::invalid_argument("pyrnn: logits without storage");
  const Kernels& found = *pyrnn::kernels(dtype).search;
  const int64_t rows = std::max<int64_t>(1, kTask / p.V);  // of a task
  if (threads <= 1 || rows >= p.rows) return found.choose(p, 0, p.rows);
  for_tasks((p.rows + rows - 1) / rows, threads,
            [&](int64_t task, int) { found.choose(p, task * rows, std::min((task + 1) * rows, p.rows)); });
}

double log_of_sum(double sum, int dtype) {
  constexpr double kGrid = 4294967296.0;  // 2^32
  const double exact = std::log(sum);
  return dtype == kFloat64 ? exact : std::nearbyint(exact * kGrid) / kGrid;
}

}  // namespace pyrnn::search
