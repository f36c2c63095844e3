// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "loss/cpu/kernels.h"

#include "common/operand.h"
#include "loss/cpu/cross_entropy.h"

namespace pyrnn::loss {
namespace {

using C = CrossEntropy<PYRNN_STORAGE, typename OperandOf<PYRNN_STORAGE>::type::Acc>;

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, loss) = {C::rows, C::total};

}  // namespace pyrnn::loss
