// Compiled once per instruction set and storage type: PYRNN_ISA, PYRNN_DTYPE, PYRNN_STORAGE (see
// CMakeLists.txt).
#include "embedding/cpu/kernels.h"

#include "embedding/cpu/glove.h"
#include "embedding/cpu/nearest.h"
#include "embedding/cpu/word2vec.h"

namespace pyrnn::embedding {
namespace {

template <class S>
constexpr Kernels kernels_of() {
  return {};
}
template <>
constexpr Kernels kernels_of<float>() {
  return {word2vec, Glove::run<true>, Glove::run<false>, Nearest::panels_size, Nearest::pack, Nearest::run};
}

}  // namespace

PYRNN_DEFINE_KERNELS(Kernels, embedding) = kernels_of<PYRNN_STORAGE>();

}  // namespace pyrnn::embedding
