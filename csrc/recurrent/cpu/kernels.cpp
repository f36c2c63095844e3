// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "recurrent/cpu/kernels.h"
#include "common/operand.h"
#include "recurrent/cpu/backward.h"
#include "recurrent/cpu/forward.h"

namespace pyrnn::recurrent {
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

template <class Cell>
struct Packing {
  using Weights = ForwardWeights<Cell, PYRNN_STORAGE, typename OperandOf<PYRNN_STORAGE>::type>;
  static size_t bytes(const Problem& p) {
    Scratch s{nullptr};
    Weights().take(s, p, Weights::panels(p));
    return s.used;
  }
  // The problem, which has more steps than one, is to have no packed weights yet.
  static void pack(const Problem& p, int direction, char* memory) {
    Weights weights;
    Scratch s{memory};
    weights.take(s, p, Weights::panels(p));
    for (int64_t i = 0; i < Weights::panels(p); i++) weights.pack(p, p.direction[direction], i);
  }
};

template <class Cell>
constexpr Kernel kernel() {
  return {Packing<Cell>::bytes,      Packing<Cell>::pack,          Entry<Forward, Cell>::bytes,
          Entry<Forward, Cell>::run, Entry<Backward, Cell>::bytes, Entry<Backward, Cell>::run};
}

// Independent multiply-adds in registers, to measure what the machine can do; returns how many operations
// that was.
int64_t fma_burst(int64_t iterations) {
  using Op = typename OperandOf<PYRNN_STORAGE>::type;
  using A = typename Op::Acc;
  constexpr int kChains =
      12;  // more than latency times issue width of any machine so far, and they fit 16 registers
  // Operands and starts that the compiler cannot see through, and different ones: equal chains would be
  // merged.
  typename Op::Element source[kLanes<A>];
  for (auto& x : source) __builtin_memset(&x, int(iterations) & 1, sizeof(x));
  auto a = Op::broadcast(source);
  const auto b = Op::load_b(source);
  Vec<A> c[kChains];
  for (int j = 0; j < kChains; j++) c[j] = splat<A>(A(j) * A(iterations));
  for (int64_t i = 0; i < iterations; i++) {
    // `a` changes as far as the compiler knows: else it would multiply once and only add in the loop.
#if defined(__x86_64__)
    asm volatile("" : "+v"(a));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(a));
#endif
#pragma GCC unroll 12
    for (int j = 0; j < kChains; j++) Op::multiply(c[j], a, b);
  }
  for (int j = 1; j < kChains; j++) c[0] += c[j];
  volatile A sink = c[0][0];
  (void)sink;
  return iterations * kChains * kLanes<A> * Op::kPerElement * 2;
}

template <class... Cell>
constexpr Kernels all_kernels(CellList<Cell...>) {
  return {{kernel<Cell>()...}, fma_burst};
}

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, recurrent) = all_kernels(Cells{});

}  // namespace pyrnn::recurrent
