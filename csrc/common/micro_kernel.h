// The innermost product: a tile of C [MR rows][NV vectors] += A [MR][K] * B [K][NV vectors], held in
// registers.
//
// A is read in place, one element at a time, with any row and k strides: the recurrent state is row-major,
// the gates of a weight gradient are k-major, and neither needs a packing pass. B is a packed panel, [K][NV *
// lanes], 64-byte aligned. Bfloat16 dot products take pairs of k as one element: A [MR][K/2] pairs, B
// [K/2][NV * lanes] pairs.
//
// Each element of C is a sum over k in order, whatever tile it falls in: results do not depend on how rows
// are split.
#pragma once
#include "common/vec.h"

namespace pyrnn {
namespace {

// ---- operands: the element type of A and B, and how one multiplies into the accumulators of type Acc
template <class T>
struct PlainOperand {
  using Element = T;  // one k
  using Storage = T;  // what a packed buffer is made of
  using Acc = T;
  static constexpr int kPerElement = 1;
  typedef typename VecTypes<T>::load BVec;
  static inline Vec<T> broadcast(const T* a) { return splat<T>(*a); }
  static inline void multiply(Vec<T>& c, Vec<T> a, Vec<T> b) { c += a * b; }
  static inline Vec<T> load_b(const T* b) { return load<T>(b); }
};

#if PYRNN_BF16_DOT
struct Bf16Pair {
  bf16 even, odd;
};
struct Bf16DotOperand {
  using Element = Bf16Pair;
  using Storage = bf16;
  using Acc = float;
  static constexpr int kPerElement = 2;
  static inline __m512i broadcast(const Bf16Pair* a) {
    int32_t bits;
    __builtin_memcpy(&bits, a, 4);
    return _mm512_set1_epi32(bits);
  }
  static inline void multiply(Vec<float>& c, __m512i a, __m512i b) {
    c = (Vec<float>)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
  }
  static inline __m512i load_b(const Bf16Pair* b) { return _mm512_loadu_si512(b); }
};

// 16 pairs, rounded to nearest even.
inline void store_pairs(Bf16Pair* to, Vec<float> even, Vec<float> odd) {
  const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);  // even ones, then odd ones
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, halves));
}
#endif

constexpr int kRegisters = kVectorBytes == 64 ? 32 : 16;

// Rows of a tile that leave the accumulators, the vectors of B and one broadcast in registers.
constexpr int max_rows(int nv) {
  return kRegisters == 32 ? (nv <= 3 ? 8 : 6) : (nv == 1 ? 8 : nv == 2 ? 6 : nv == 3 ? 4 : 3);
}

template <class Op>
struct TileArgs {
  int64_t K;                      // elements of Op, not numbers
  const typename Op::Element* a;  // element (row, k) at a[row * a_row + k * a_k]
  int64_t a_row, a_k;
  const typename Op::Element* b;  // packed panel [K][NV * lanes]
  const typename Op::Acc*
      init;  // [MR][NV * lanes] with row stride init_row (0: one row for all); null: zeros
  int64_t init_row;
  typename Op::Acc* c;  // [MR][NV * lanes] with row stride c_row; may be init
  int64_t c_row;
};

// Longer sums are added up from sums of this many elements: rounding grows with the length of a chain, and
// libraries that split it differently set the bar.
constexpr int64_t kSumLength = 32;

// Not inlined into the cell update: constants hoisted there have spilled accumulators inside the k loop.
template <class Op, int MR, int NV>
__attribute__((noinline)) void tile(const TileArgs<Op>& t) {
  using A = typename Op::Acc;
  constexpr int L = kLanes<A>;
  const typename Op::Element *a = t.a, *b = t.b;
  const int64_t row = t.a_row, step = t.a_k;
  const A* init = t.init;
  int64_t init_row = t.init_row, k = 0;
  do {
    const int64_t end = t.K - k > kSumLength ? k + kSumLength : t.K;
    Vec<A> acc[MR][NV] = {};
    for (; k < end; k++, a += step, b += NV * L) {
      decltype(Op::load_b(b)) bv[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) bv[v] = Op::load_b(b + v * L);
#pragma GCC unroll 8
      for (int r = 0; r < MR; r++) {
        auto x = Op::broadcast(a + r * row);
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) Op::multiply(acc[r][v], x, bv[v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++)
        store(t.c + r * t.c_row + v * L, init ? load<A>(init + r * init_row + v * L) + acc[r][v] : acc[r][v]);
    init = t.c;
    init_row = t.c_row;
  } while (k < t.K);
}

// `rows` (1 to max_rows(NV)) chosen at run time.
template <class Op, int NV, int MR = max_rows(NV)>
inline void run_tile(int rows, const TileArgs<Op>& t) {
  if (rows == MR) return tile<Op, MR, NV>(t);
  if constexpr (MR > 1) run_tile<Op, NV, MR - 1>(rows, t);
}

}  // namespace
}  // namespace pyrnn
