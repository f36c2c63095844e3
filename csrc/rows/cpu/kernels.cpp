// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "rows/cpu/kernels.h"

#include "common/operand.h"
#include "rows/cpu/rows.h"
#include "rows/cpu/weight_gradient.h"

namespace pyrnn::rows {
namespace {

using R = Rows<PYRNN_STORAGE, typename OperandOf<PYRNN_STORAGE>::type>;
using G = WeightGradients<PYRNN_STORAGE, typename OperandOf<PYRNN_STORAGE>::type>;

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, rows) = {kVectorBytes >= 32, G::kPairs, R::scratch_bytes, R::panel_bytes,
                                       R::prepare,         R::linear, R::norm,          G::scratch_bytes,
                                       G::own_bytes,       G::block,  G::pack_input,    G::weight_gradient};

}  // namespace pyrnn::rows
