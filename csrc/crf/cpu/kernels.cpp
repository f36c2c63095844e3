// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "crf/cpu/kernels.h"
#include "crf/cpu/backward.h"
#include "crf/cpu/viterbi.h"

namespace pyrnn::crf {
namespace {

using S = PYRNN_STORAGE;

size_t table_bytes(const Problem& p, Pass pass) {
  return pass == Pass::forward ? Forward<S>(p).table(nullptr) : Backward<S>(p).table(nullptr);
}
size_t scratch_bytes(const Problem& p, Pass pass) {
  return pass == Pass::forward ? Forward<S>(p).scratch(nullptr) : Backward<S>(p).scratch(nullptr);
}
size_t sums_bytes(const Problem& p) { return Backward<S>(p).group_sums(nullptr); }

void prepare(const Problem& p, Pass pass, char* table) {
  if (pass == Pass::forward) {
    Forward<S> forward(p);
    forward.table(table);
    return forward.into.prepare();
  }
  Backward<S> backward(p);
  backward.table(table);
  backward.into.prepare(), backward.from.prepare();
}

void forward(const Problem& p, const Block& block, char* table, char* scratch) {
  Forward<S> engine(p);
  engine.table(table), engine.scratch(scratch);
  engine.run(block);
}

void backward(const Problem& p, const Block& block, char* table, char* scratch, char* sums) {
  Backward<S> engine(p);
  engine.table(table), engine.scratch(scratch), engine.group_sums(sums);
  engine.run(block);
}

void finish(const Problem& p, char* table, char* sums, size_t bytes, int64_t groups) {
  Backward<S> engine(p);
  engine.table(table);
  engine.finish(sums, bytes, groups);
}

size_t viterbi_bytes(const Problem& p, int64_t longest) { return Viterbi<S>(p, longest).scratch(nullptr); }

void viterbi(const Problem& p, int64_t row, int64_t length, char* scratch) {
  Viterbi<S> engine(p, length);
  engine.scratch(scratch);
  engine.run(row);
}

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, crf) = {LogSums<S>::kRows, table_bytes, scratch_bytes, sums_bytes,    prepare,
                                      forward,           backward,    finish,        viterbi_bytes, viterbi};

}  // namespace pyrnn::crf
