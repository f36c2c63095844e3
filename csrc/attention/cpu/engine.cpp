#include "attention/cpu/engine.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "common/dispatch.h"
#include "common/scratch.h"
#include "common/workspace.h"

namespace pyrnn::attention {
namespace {

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pyrnn: ") + what);
}

// A tensor without storage that slipped past Python has a null pointer.
void check(const Problem& p, bool backward) {
  require(p.dtype >= 0 && p.dtype < kCpuDTypes, "unknown dtype");
  require(p.B > 0 && p.H > 0 && p.K > 0 && p.T > 0 && p.S > 0 && p.D > 0 && p.V > 0, "empty problem");
  require(p.H % p.K == 0, "the heads of the queries are no multiple of those of the keys");
  require(p.q.data && p.k.data && p.v.data && p.out.data, "tensor without storage");
  require(p.statistics || (!backward && p.weights_kind == kNoWeights),
          "statistics of the softmax without storage");
  require((p.mask_kind == kNoMask) == !p.mask.data, "mask without storage");
}

// Multiply-adds of a call up to which a second thread takes longer to come than the first to do it all.
constexpr double kLittleWork = 1 << 16;

void run(const Problem& p, const StagedPass& pass, int threads) {
  if (double(p.B) * p.H * p.T * p.S * (p.D + p.V) <= kLittleWork) threads = 1;
  const int64_t shared = round_up(int64_t(pass.shared_bytes(p)), 64);
  const int64_t scratch = round_up(int64_t(pass.scratch_bytes(p)), 64) + 64;
  int64_t max_tasks = 1;
  for (int stage = 0; stage < kStages; stage++) max_tasks = std::max(max_tasks, pass.tasks(p, stage));
  threads = int(std::clamp<int64_t>(max_tasks, 1, std::max(threads, 1)));
  char* memory = workspace(shared + threads * scratch);
  for (int stage = 0; stage < kStages; stage++)
    for_tasks(pass.tasks(p, stage), threads, [&](int64_t task, int thread) {
      pass.run(p, memory, memory + shared + thread * scratch, stage, task);
    });
}

}  // namespace

void forward(const Problem& p, int threads) {
  check(p, false);
  run(p, pyrnn::kernels(int(p.dtype)).attention->forward, threads);
}

void backward(const Problem& p, int threads) {
  check(p, true);
  run(p, pyrnn::kernels(int(p.dtype)).attention->backward, threads);
}

}  // namespace pyrnn::attention
