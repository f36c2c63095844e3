// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "attention/cpu/kernels.h"

#include "attention/cpu/backward.h"
#include "attention/cpu/decode.h"
#include "attention/cpu/weights.h"

namespace pyrnn::attention {
namespace {

using S = PYRNN_STORAGE;
using Op = typename OperandOf<S>::type;

// Stages 0 and 1: the output, by panels or on the decode path; stage 2: the weights, or both.
int64_t forward_tasks(const Problem& p, int stage) {
  if (takes_decode_path(p)) return Decode<S, Op>(p).tasks(stage);
  const Weights<S, Op> weights(p);
  if (stage == 2) return weights.tasks();
  return stage == 0 && !weights.with_output ? PanelTasks<S, Op>(p).count(p) : 0;
}
size_t forward_shared(const Problem& p) { return takes_decode_path(p) ? Decode<S, Op>(p).shared_bytes() : 0; }
size_t forward_scratch(const Problem& p) {
  if (takes_decode_path(p)) return Decode<S, Op>(p).layout(nullptr);
  const size_t a = Forward<S, Op>(p).layout(nullptr);
  const size_t b = p.weights_kind == kNoWeights ? 0 : Weights<S, Op>(p).layout(nullptr);
  return a > b ? a : b;
}
void forward(const Problem& p, char* shared, char* scratch, int stage, int64_t task) {
  if (takes_decode_path(p)) {
    Decode<S, Op> work(p);
    work.layout(scratch);
    work.run(shared, stage, task);
  } else if (stage == 2) {
    Weights<S, Op> work(p);
    work.layout(scratch);
    work.run(task);
  } else {
    Forward<S, Op> work(p);
    work.layout(scratch);
    work.run(task);
  }
}

int64_t backward_tasks(const Problem& p, int stage) { return Backward<S, Op>(p).tasks(stage); }
size_t backward_shared(const Problem& p) { return Backward<S, Op>(p).shared_bytes(); }
size_t backward_scratch(const Problem& p) { return Backward<S, Op>(p).layout(nullptr); }
void backward(const Problem& p, char* shared, char* scratch, int stage, int64_t task) {
  Backward<S, Op> work(p);
  work.layout(scratch);
  work.run(shared, stage, task);
}

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, attention) = {{forward_tasks, forward_shared, forward_scratch, forward},
                                            {backward_tasks, backward_shared, backward_scratch, backward}};

}  // namespace pyrnn::attention
