// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "decoder/cpu/kernels.h"
#include "common/operand.h"
#include "decoder/cpu/backward.h"
#include "decoder/cpu/forward.h"

namespace pyrnn::decoder {
namespace {

template <template <class, class, class> class Engine, class Cell>
struct Entry {
  using E = Engine<Cell, PYRNN_STORAGE, typename OperandOf<PYRNN_STORAGE>::type>;
  static size_t bytes(const Problem& p, const Plan& plan) { return E(p, plan, 0).layout(nullptr); }
  static void run(const Problem& p, const Plan& plan, char* scratch, int thread) {
    E engine(p, plan, thread);
    engine.layout(scratch);
    engine.run();
  }
};

template <class... Cell>
constexpr Kernels all_kernels(recurrent::CellList<Cell...>) {
  return {{{Entry<Forward, Cell>::bytes, Entry<Forward, Cell>::run, Entry<Backward, Cell>::bytes,
            Entry<Backward, Cell>::run}...}};
}

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, decoder) = all_kernels(recurrent::Cells{});

}  // namespace pyrnn::decoder
