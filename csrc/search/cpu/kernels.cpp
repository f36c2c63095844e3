// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "search/cpu/kernels.h"

#include "common/operand.h"
#include "search/cpu/choose.h"

namespace pyrnn::search {
namespace {

using C = Choose<PYRNN_STORAGE, typename OperandOf<PYRNN_STORAGE>::type::Acc>;

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, search) = {C::rows};

}  // namespace pyrnn::search
