#include "common/dispatch.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>

namespace pyrnn {
namespace {

struct InstructionSet {
  const char* name;
  bool (*supported)();
  KernelSet sets[kCpuDTypes];  // by DType
};

#define PYRNN_SET(isa, dtype)                                                                \
  {&recurrent::pyrnn_recurrent_##isa##_##dtype, &attention::pyrnn_attention_##isa##_##dtype, \
   &pointwise::pyrnn_pointwise_##isa##_##dtype, &rows::pyrnn_rows_##isa##_##dtype,           \
   &decoder::pyrnn_decoder_##isa##_##dtype,     &search::pyrnn_search_##isa##_##dtype,       \
   &embedding::pyrnn_embedding_##isa##_##dtype, &crf::pyrnn_crf_##isa##_##dtype,             \
   &loss::pyrnn_loss_##isa##_##dtype,           &optimizer::pyrnn_optimizer_##isa##_##dtype}
#define PYRNN_SETS(isa) {PYRNN_SET(isa, float32), PYRNN_SET(isa, bfloat16), PYRNN_SET(isa, float64)}

#ifdef PYRNN_WITH_avx2
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#if defined(PYRNN_WITH_avx512) || defined(PYRNN_WITH_avx512_bf16)
bool has_avx512() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif
#ifdef PYRNN_WITH_avx512_bf16
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif

const InstructionSet kSets[] = {
// best first; PYRNN_WITH_: those that this build has
#ifdef PYRNN_WITH_avx512_bf16
    {"avx512_bf16",
     has_avx512_bf16,
     {PYRNN_SET(avx512, float32), PYRNN_SET(avx512_bf16, bfloat16), PYRNN_SET(avx512, float64)}},
#endif
#ifdef PYRNN_WITH_avx512
    {"avx512", has_avx512, PYRNN_SETS(avx512)},
#endif
#ifdef PYRNN_WITH_avx2
    {"avx2", has_avx2, PYRNN_SETS(avx2)},
#endif
    {"baseline", [] { return true; }, PYRNN_SETS(baseline)},
};

const InstructionSet* find(const std::string& name) {
  std::string known;
  for (const auto& set : kSets) {
    if (!set.supported()) continue;
    if (name.empty() || name == set.name) return &set;
    known += (known.empty() ? "" : ", ") + std::string(set.name);
  }
  throw std::invalid_argument("pyrnn: this processor cannot run instruction set '" + name + "'; it can run " +
                              known);
}

std::atomic<const InstructionSet*>& current() {
  static std::atomic<const InstructionSet*> set = [] {
    const char* forced = std::getenv("PYRNN_CPU_ISA");
    return find(forced ? forced : "");
  }();
  return set;
}

}  // namespace

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const auto& set : kSets)
    if (set.supported()) names.push_back(set.name);
  return names;
}

std::string isa() { return current().load()->name; }
void set_isa(const std::string& name) { current() = find(name); }
const KernelSet& kernels(int dtype) { return current().load()->sets[dtype]; }

double fma_peak(int dtype, int threads) {
  const auto burst = kernels(dtype).recurrent->fma_burst;
  double best = 0;
  for (int repeat = 0; repeat < 5; repeat++) {
    int64_t operations = 0;
    const auto start = std::chrono::steady_clock::now();
#pragma omp parallel num_threads(threads) reduction(+ : operations) if (threads > 1)
    operations += burst(2000000);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, double(operations) / seconds.count());
  }
  return best;
}

int64_t l2_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return 1 << 20;
}

}  // namespace pyrnn
