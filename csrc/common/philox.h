// Philox4x32-7 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011): a block of four random
// words from a counter of four words and a key of two, with no state. Any word can be computed anywhere, so a
// dropout mask is never stored.
//
// A round multiplies 32 x 32 -> 64 bits. Words are therefore kept in 64-bit lanes, where the product leaves
// one half in place and the other a shift away; whatever stands in the upper halves is ignored by the next
// product.
#pragma once
#include "common/vec.h"
#if defined(__SSE2__)
#  include <immintrin.h>
#endif

namespace pyrnn {
namespace {

typedef uint64_t u64_vec __attribute__((vector_size(kVectorBytes)));

constexpr int kPhiloxRounds = 7;                // the fewest that pass BigCrush
constexpr int kPhiloxWords = kVectorBytes / 2;  // of one philox_row: two vectors

inline u64_vec multiply_low_halves(u64_vec a, uint32_t m) {
#if defined(__SSE2__) && PYRNN_VECTOR_BYTES == 64
  // The mask of ones costs nothing, and GCC 12 calls the plain form's undefined operand uninitialised.
  return (u64_vec)_mm512_maskz_mul_epu32(0xff, (__m512i)a, _mm512_set1_epi64(m));
#elif defined(__SSE2__) && PYRNN_VECTOR_BYTES == 32
  return (u64_vec)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#elif defined(__SSE2__)
  return (u64_vec)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(m));
#else
  return (a & 0xffffffffu) * m;
#endif
}

inline void philox_rounds(u64_vec c[4], uint32_t key0, uint32_t key1) {
#pragma GCC unroll 7
  for (int round = 0; round < kPhiloxRounds; round++, key0 += 0x9e3779b9u, key1 += 0xbb67ae85u) {
    const u64_vec p = multiply_low_halves(c[0], 0xd2511f53u), q = multiply_low_halves(c[2], 0xcd9e8d57u);
    c[0] = (q >> 32) ^ c[1] ^ key0;
    c[2] = (p >> 32) ^ c[3] ^ key1;
    c[1] = q;
    c[3] = p;
  }
}

// Lanes of 32 bits: those of `even` at the even places, those of `odd` at the odd ones.
inline u64_vec merge_halves(u64_vec even, u64_vec odd) { return (even & 0xffffffffu) | (odd << 32); }

// Word n of the block of each lane's counter to out[n].
inline void philox(const u32_vec counter[4], uint32_t key0, uint32_t key1, u32_vec out[4]) {
  u64_vec even[4], odd[4];
  for (int n = 0; n < 4; n++) even[n] = (u64_vec)counter[n], odd[n] = (u64_vec)counter[n] >> 32;
  philox_rounds(even, key0, key1);
  philox_rounds(odd, key0, key1);
  for (int n = 0; n < 4; n++) out[n] = (u32_vec)merge_halves(even[n], odd[n]);
}

// The kPhiloxWords consecutive words that begin with the block of (c0, c1, c2, c3), as c0 goes up: the words
// of kPhiloxWords / 4 blocks, in order. c0 must not overflow on the way.
inline void philox_row(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t key0, uint32_t key1,
                       u32_vec out[2]) {
  constexpr int kBlocks = kVectorBytes / 8, kHalf = kBlocks / 2;
  u64_vec order;  // so that interleaving below puts the blocks in order
  for (int l = 0; l < kBlocks; l++) order[l] = (l % 2) * kHalf + l / 2;
  u64_vec c[4] = {order + c0, u64_vec{} + c1, u64_vec{} + c2, u64_vec{} + c3};
  philox_rounds(c, key0, key1);
  const u64_vec first = merge_halves(c[0], c[1]), second = merge_halves(c[2], c[3]);
  u64_vec low, high;
#if defined(__GNUC__) && !defined(__clang__)
  u64_vec low_lanes, high_lanes;
  for (int l = 0; l < kBlocks; l++) {
    low_lanes[l] = (l % 2) * kBlocks + l / 2 * 2;
    high_lanes[l] = low_lanes[l] + 1;
  }
  low = __builtin_shuffle(first, second, low_lanes);
  high = __builtin_shuffle(first, second, high_lanes);
#else
  for (int l = 0; l < kBlocks; l++) {
    low[l] = (l % 2 ? second : first)[l / 2 * 2];
    high[l] = (l % 2 ? second : first)[l / 2 * 2 + 1];
  }
#endif
  out[0] = (u32_vec)low;
  out[1] = (u32_vec)high;
}

}  // namespace
}  // namespace pyrnn
