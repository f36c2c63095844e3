// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "optimizer/cpu/kernels.h"

#include "common/operand.h"
#include "optimizer/cpu/adamw.h"

namespace pyrnn::optimizer {
namespace {

using K = AdamW<PYRNN_STORAGE, typename OperandOf<PYRNN_STORAGE>::type::Acc>;

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, optimizer) = {K::squares, K::update};

}  // namespace pyrnn::optimizer
