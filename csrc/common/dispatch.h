// Which instruction set's kernels run: the best that the processor has, or what PYRNN_CPU_ISA or set_isa asks
// for.
#pragma once
#include <string>
#include <vector>

#include "attention/cpu/kernels.h"
#include "crf/cpu/kernels.h"
#include "decoder/cpu/kernels.h"
#include "embedding/cpu/kernels.h"
#include "loss/cpu/kernels.h"
#include "optimizer/cpu/kernels.h"
#include "pointwise/cpu/kernels.h"
#include "recurrent/cpu/kernels.h"
#include "rows/cpu/kernels.h"
#include "search/cpu/kernels.h"

namespace pyrnn {

struct KernelSet {
  const recurrent::Kernels* recurrent;
  const attention::Kernels* attention;
  const pointwise::Kernels* pointwise;
  const rows::Kernels* rows;
  const decoder::Kernels* decoder;
  const search::Kernels* search;
  const embedding::Kernels* embedding;
  const crf::Kernels* crf;
  const loss::Kernels* loss;
  const optimizer::Kernels* optimizer;
};

std::vector<std::string> isas();        // those that this processor can run, best first
std::string isa();                      // the one in use
void set_isa(const std::string& name);  // throws std::invalid_argument

const KernelSet& kernels(int dtype);      // of the set in use
double fma_peak(int dtype, int threads);  // operations a second, measured now
int64_t l2_bytes();                       // of one core's second-level cache, or a guess

}  // namespace pyrnn
