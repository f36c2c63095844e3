#include "pointwise/cpu/engine.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "common/dispatch.h"
#include "common/workspace.h"

namespace pyrnn::pointwise {
namespace {

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pyrnn: ") + what);
}

const Kernels& kernels_of(const DropoutProblem& p) {
  require(p.dtype >= 0 && p.dtype < kCpuDTypes, "unknown dtype");
  require(p.activation >= 0 && p.activation < kActivations, "unknown activation");
  require(p.p >= 0 && p.p <= 1, "a probability outside [0, 1]");
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
  require(p.count == 0 || (p.x && p.out), "tensor without storage");
  run(p, found.forward[p.activation], threads);
}

void dropout_backward(const DropoutProblem& p, int threads) {
  const Kernels& found = kernels_of(p);
  require(p.count == 0 || ((p.x || p.activation == kIdentity) && p.other && p.out), "tensor without storage");
  run(p, found.backward[p.activation], threads);
}

}  // namespace pyrnn::pointwise
