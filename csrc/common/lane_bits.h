// Comparisons of vectors as bits.
#pragma once
#include "common/vec.h"

namespace pyrnn {
namespace {

// One bit for each lane of a comparison.
template <class Mask>
inline uint32_t bits_of(Mask mask) {
  constexpr bool kFloats = sizeof(mask[0]) == 4;
#if PYRNN_VECTOR_BYTES == 64
  if constexpr (kFloats)
    return _mm512_movepi32_mask((__m512i)mask);
  else
    return _mm512_movepi64_mask((__m512i)mask);
#elif PYRNN_VECTOR_BYTES == 32 && defined(__AVX2__)
  if constexpr (kFloats)
    return uint32_t(_mm256_movemask_ps((__m256)mask));
  else
    return uint32_t(_mm256_movemask_pd((__m256d)mask));
#else
  typedef int64_t halves __attribute__((vector_size(kVectorBytes)));
  int64_t any = 0;
  for (int i = 0; i < kVectorBytes / 8; i++) any |= ((halves)mask)[i];
  uint32_t bits = 0;
  for (int l = 0; any && l < kVectorBytes / int(sizeof(mask[0])); l++) bits |= uint32_t(mask[l] & 1) << l;
  (void)kFloats;
  return bits;
#endif
}

}  // namespace
}  // namespace pyrnn
