#include "recurrent/cpu/engine.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "common/dispatch.h"
#include "common/workspace.h"
#include "recurrent/cells/table.h"
#include "recurrent/cpu/frozen.h"
#ifdef _OPENMP
#  include <omp.h>
#endif

namespace pyrnn::recurrent {
namespace {

// A plan and the arrays that it points to.
struct PlanStorage {
  std::vector<int64_t> last, batch, active;
  std::vector<BatchSlice> slices;
  std::vector<Flag> flags;
  Plan plan;

  PlanStorage(const Problem& p, const Split& split) : last(p.B), slices(p.D * split.slices) {
    for (int64_t b = 0; b < p.B; b++) last[b] = p.lengths ? p.lengths[b] : p.T;
    const auto parts = deal(split.slices);
    batch.reserve(p.B);
    active.resize(split.slices * p.T);
    for (size_t i = 0; i < parts.size(); i++) {
      const auto& rows = parts[i];
      const int64_t* first = batch.data() + batch.size();
      batch.insert(batch.end(), rows.begin(), rows.end());
      int64_t* counts = active.data() + i * p.T;
      int64_t n = int64_t(rows.size());
      for (int64_t t = 0; t < p.T; t++) {
        while (n > 0 && last[rows[n - 1]] <= t) n--;
        counts[t] = n;
      }
      for (int64_t d = 0; d < p.D; d++)
        slices[d * split.slices + i] = {int(d), int64_t(rows.size()), first, counts,
                                        rows.empty() ? 0 : last[rows[0]]};
    }
    const int threads = split.groups * split.group_size;
    flags.resize(2 * threads, Flag{0});
    plan = {threads,       split.group_size, split.groups, int(slices.size()),
            slices.data(), last.data(),      flags.data(), flags.data() + threads};
  }

 private:
  // The batch in `count` parts of about equal numbers of tokens, each by decreasing length.
  std::vector<std::vector<int64_t>> deal(int count) const {
    const int64_t B = int64_t(last.size());
    std::vector<std::vector<int64_t>> parts(count);
    std::vector<int64_t> order(B), tokens(count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return last[a] > last[b]; });
    const bool equal = B == 0 || last[order.front()] == last[order.back()];
    for (int64_t i = 0; i < B; i++) {
      const auto lightest = std::min_element(tokens.begin(), tokens.end()) - tokens.begin();
      const auto part = equal ? i * count / B : lightest;  // equal lengths: neighbours stay together
      parts[part].push_back(order[i]);
      tokens[part] += last[order[i]];
    }
    return parts;
  }
};

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pyrnn: ") + what);
}

void check(
    const Problem& p) {  // a tensor without storage that slipped past the Python checks has a null pointer
  require(p.cell >= 0 && p.cell < kCellKinds && p.dtype >= 0 && p.dtype < kCpuDTypes,
          "unknown cell or dtype");
  require(p.T > 0 && p.B > 0 && p.H > 0 && p.P > 0 && (p.D == 1 || p.D == 2), "empty problem");
  require(p.y.data && (p.x.data || p.I == 0), "tensor without storage");
  for (int64_t d = 0; d < p.D; d++) {
    const Direction& w = p.direction[d];
    require((w.w_ih || p.I == 0) && w.w_hh, "weight without storage");
    require(kCells[p.cell].has_c || !w.w_hr, "a projection of a cell without a cell state");
    require(w.w_hr || p.P == p.H, "hidden and output size differ without a projection");
  }
}

void run(const Problem& p, const Kernel& kernel, Pass pass, const Split& split) {
  PlanStorage storage(p, split);
  const Plan& plan = storage.plan;
  const auto bytes = pass == Pass::forward ? kernel.forward_bytes : kernel.backward_bytes;
  const auto work = pass == Pass::forward ? kernel.forward : kernel.backward;
  char* memory = workspace(bytes(p, plan));
  if (plan.threads == 1) return work(p, plan, memory, 0);  // never a parallel region for one: safe after fork
#ifdef _OPENMP
  bool short_of_threads = false;
#  pragma omp parallel num_threads(plan.threads)
  {
    if (omp_get_num_threads() == plan.threads)
      work(p, plan, memory, omp_get_thread_num());
    else if (omp_get_thread_num() == 0)
      short_of_threads =
          true;  // inside somebody's parallel region, or at a thread limit: barriers would hang
  }
  if (!short_of_threads) return;
#endif
  run(p, kernel, pass, choose_split(p, pass, 1, 0));
}

void start(Problem& p, const int64_t* batch_sizes, Pass pass, int threads, int group_size) {
  std::vector<int64_t> offset, lengths;
  if (batch_sizes) {
    lengths.assign(p.B, 0);
    int64_t rows = 0;
    for (int64_t t = 0; t < p.T; t++) {
      require(batch_sizes[t] > 0 && batch_sizes[t] <= (t ? batch_sizes[t - 1] : p.B),
              "batch sizes must not increase");
      offset.push_back(rows);
      rows += batch_sizes[t];
      for (int64_t b = 0; b < batch_sizes[t]; b++) lengths[b] = t + 1;
    }
    require(rows == p.N, "batch sizes do not add up to the number of rows");
    p.step_offset = offset.data();
    p.lengths = lengths.data();
  }
  check(p);
  const Kernel& kernel = kernels(p.dtype).recurrent->cell[p.cell];
  const auto frozen = pass == Pass::forward && !p.workspace ? use_frozen(p, kernel) : nullptr;
  run(p, kernel, pass, choose_split(p, pass, std::max(threads, 1), group_size));
}

}  // namespace

void forward(Problem& p, const int64_t* batch_sizes, int threads, int group_size) {
  start(p, batch_sizes, Pass::forward, threads, group_size);
}
void backward(Problem& p, const int64_t* batch_sizes, int threads, int group_size) {
  start(p, batch_sizes, Pass::backward, threads, group_size);
}

}  // namespace pyrnn::recurrent
