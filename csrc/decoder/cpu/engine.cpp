#include "decoder/cpu/engine.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/dispatch.h"
#include "common/pass.h"
#include "common/workspace.h"
#include "recurrent/cells/table.h"
#include "recurrent/cpu/frozen.h"
#ifdef _OPENMP
#  include <omp.h>
#endif

namespace pyrnn::decoder {
namespace {

// Multiply-adds of a step that are worth a thread: it waits three times a step for the others.
constexpr double kStepWork = 1 << 15;

// A plan and the arrays that it points to.
struct PlanStorage {
  std::vector<int64_t> batch, active, first, token_t, token_b;
  std::vector<Flag> flags;
  Plan plan;

  PlanStorage(const Problem& p, int threads) : batch(p.B), active(p.T), first(p.T), flags(threads, Flag{0}) {
    const auto length = [&](int64_t b) { return p.lengths ? p.lengths[b] : p.T; };
    std::iota(batch.begin(), batch.end(), 0);
    std::stable_sort(batch.begin(), batch.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
    int64_t rows = p.B;
    for (int64_t t = 0; t < p.T; t++) {
      while (rows > 0 && length(batch[rows - 1]) <= t) rows--;
      active[t] = rows, first[t] = int64_t(token_t.size());
      for (int64_t r = 0; r < rows; r++) token_t.push_back(t), token_b.push_back(batch[r]);
    }
    plan = {threads,       nullptr,      length(batch[0]), int64_t(token_t.size()), batch.data(),
            active.data(), first.data(), token_t.data(),   token_b.data(),          flags.data()};
  }
};

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pyrnn: ") + what);
}

// A tensor without storage that slipped past Python has a null pointer.
void check(const Problem& p) {
  require(p.cell >= 0 && p.cell < recurrent::kCellKinds && p.dtype >= 0 && p.dtype < kCpuDTypes,
          "unknown cell or dtype");
  require(p.T >= 0 && p.B > 0 && p.S > 0 && p.H > 0 && p.A > 0 && p.V > 0 && p.W >= 0, "empty problem");
  require(p.weight_hh && p.h_0 && p.context_0 && p.keys.data && p.values.data && (p.x.data || !p.T),
          "tensor without storage");
  require(p.c_0 || !recurrent::kCells[int(p.cell)].has_c, "no cell state");
  require(p.weight_query || p.A == p.H, "queries and states differ in size without a product between them");
  require(p.score_weight || !p.W, "a location filter without the additive score");
  require(!p.W == !p.weight_location, "a location filter without storage");
}

void run(const Problem& p, Pass pass, int threads) {
  const Kernel& kernel = kernels(int(p.dtype)).decoder->cell[p.cell];
  PlanStorage storage(p, threads);
  const Plan& plan = storage.plan;
  recurrent::Problem layer = as_layer(p);
  std::shared_ptr<const recurrent::Packed> frozen;
  if (pass == Pass::forward && !p.trains)
    frozen = recurrent::use_frozen(layer, kernels(int(p.dtype)).recurrent->cell[p.cell]);
  storage.plan.packed = layer.packed[0];
  const auto work = pass == Pass::forward ? kernel.forward : kernel.backward;
  char* memory = workspace((pass == Pass::forward ? kernel.forward_bytes : kernel.backward_bytes)(p, plan));
  if (threads == 1) return work(p, plan, memory, 0);  // never a parallel region for one: safe after fork
#ifdef _OPENMP
  bool short_of_threads = false;
#  pragma omp parallel num_threads(threads)
  {
    if (omp_get_num_threads() == threads)
      work(p, plan, memory, omp_get_thread_num());
    else if (omp_get_thread_num() == 0)
      short_of_threads = true;  // inside somebody's parallel region: barriers would hang
  }
  if (!short_of_threads) return;
#endif
  run(p, pass, 1);
}

}  // namespace

int threads_of(const Problem& p, int threads) {
  const double gates = double(recurrent::kCells[int(p.cell)].gates) * double(p.H);
  const double row = gates * double(p.H + p.V) + double(p.A) * double(p.H) + double(p.S) * double(p.A + p.V);
  return int(std::clamp(double(p.B) * row / kStepWork, 1.0, double(std::max(threads, 1))));
}

void forward(const Problem& p, int threads) {
  check(p);
  run(p, Pass::forward, threads_of(p, threads));
}

void backward(const Problem& p, int threads) {
  check(p);
  run(p, Pass::backward, threads_of(p, threads));
}

}  // namespace pyrnn::decoder
