// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "pointwise/cpu/kernels.h"
#include "common/operand.h"
#include "pointwise/cpu/residual_norm.h"
#include "pointwise/cpu/rotary.h"

namespace pyrnn::pointwise {
namespace {

using A = typename OperandOf<PYRNN_STORAGE>::type::Acc;
template <class Activation>
using D = Dropout<PYRNN_STORAGE, A, Activation>;
using N = ResidualNorm<PYRNN_STORAGE, A>;

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, pointwise) = {
    {D<Identity>::run<false>, D<Relu>::run<false>, D<Gelu>::run<false>, D<GeluTanh>::run<false>},
    {D<Identity>::run<true>, D<Relu>::run<true>, D<Gelu>::run<true>, D<GeluTanh>::run<true>},
    N::forward,
    N::backward,
    N::sums,
    Rotary<PYRNN_STORAGE, A>::rows};

}  // namespace pyrnn::pointwise
