// Scores of a block of rows, of which those above a bound are told: see embedding/nearest.h.
//
// Queries are a packed panel and the rows are read in place, a tile at a time, which is compared with the
// bounds in the cache; with few queries, dot products along the rows.
#pragma once
#include "common/few_rows.h"
#include "common/lane_bits.h"
#include "embedding/nearest.h"

namespace pyrnn::embedding {
namespace {

struct Nearest {
  using Op = PlainOperand<float>;
  using V = Vec<float>;
  using Mask = typename VecTypes<float>::mask;
  static constexpr int64_t L = kLanes<float>;
  static constexpr int kTogether = kRegisters == 32 ? 8 : kFewRows;  // queries that read a row once

  static int64_t panels_size(const NearestProblem& p) {  // floats
    if (in_place(p)) return 0;
    return p.multiplied ? Panels<3>::size(p) : Panels<1>::size(p);
  }
  static void pack(const NearestProblem& p, float* panels) {
    if (in_place(p)) return;
    p.multiplied ? Panels<3>::pack(p, panels) : Panels<1>::pack(p, panels);
  }
  // Of rows [begin, end) and each query the scores above its bound [Q], behind which lie numbers that nothing
  // is above up to a multiple of kNearestBounds. Rows of a query come in ascending order. How many.
  static int64_t run(const NearestProblem& p, const float* panels, const float* bounds, int64_t begin,
                     int64_t end, NearestHit* hits) {
    if (in_place(p)) return few(p, bounds, begin, end, hits);
    return p.multiplied ? Panels<3>::run(p, panels, bounds, begin, end, hits)
                        : Panels<1>::run(p, panels, bounds, begin, end, hits);
  }

 private:
  static int64_t rows_of(const NearestProblem& p) { return p.multiplied ? 3 * p.Q : p.Q; }
  static bool in_place(const NearestProblem& p) { return rows_of(p) <= kTogether; }

  static V multiplied(const NearestProblem& p, V a, V b, V c) {
    const V half_a = (a + 1.0f) * 0.5f, half_b = (b + 1.0f) * 0.5f, half_c = (c + 1.0f) * 0.5f;
    return half_b * half_c / (half_a + float(p.epsilon));
  }

  // Queries [kQueries], of which each is kParts columns that lie L apart.
  template <int kParts>
  struct Panels {
    static constexpr int kVectors = kParts == 1 ? 2 : kParts, kColumns = kVectors * int(L);
    static constexpr int kGroups = kVectors / kParts;  // vectors of scores
    static constexpr int64_t kQueries = kGroups * L;

    static int64_t size(const NearestProblem& p) { return ceil_div(p.Q, kQueries) * p.D * kColumns; }

    static void pack(const NearestProblem& p, float* panels) {
      for (int64_t q = 0; q < p.Q; q += kQueries, panels += p.D * kColumns)
        pack_from_columns<Op, kVectors, float>(panels, p.D, [&](int column) -> const float* {
          const int64_t part = kParts == 1 ? 0 : column / L, query = q + (kParts == 1 ? column : column % L);
          return query < p.Q ? p.queries + (part * p.Q + query) * p.D : nullptr;
        });
    }

    static int64_t run(const NearestProblem& p, const float* panels, const float* bounds, int64_t begin,
                       int64_t end, NearestHit* hits) {
      int64_t count = 0;
      for (int64_t q = 0; q < p.Q; q += kQueries, panels += p.D * kColumns)
        for_row_tiles<kVectors>(end - begin, [&](int64_t first, int rows) {
          alignas(64) float products[max_rows(kVectors) * kColumns];
          const float* row = p.matrix + (begin + first) * p.D;
          run_tile<Op, kVectors>(rows, {p.D, row, p.D, 1, panels, nullptr, 0, products, kColumns});
          for (int r = 0; r < rows; r++) {
            const int64_t number = begin + first + r;
            const V inverse = splat(p.inverse[number]);
            V cosines[kVectors];
            for (int v = 0; v < kVectors; v++)
              cosines[v] = rounded(load<float>(products + r * kColumns + v * L) * inverse);
            for (int g = 0; g < kGroups; g++) {
              V scores = cosines[g];
              if constexpr (kParts == 3) scores = multiplied(p, cosines[0], cosines[1], cosines[2]);
              uint32_t bits = bits_of((Mask)(scores > load<float>(bounds + q + g * L)));
              for (; bits; bits &= bits - 1) {
                const int lane = __builtin_ctz(bits);
                hits[count++] = {q + g * L + lane, number, scores[lane]};
              }
            }
          }
        });
      return count;
    }
  };

  static int64_t few(const NearestProblem& p, const float* bounds, int64_t begin, int64_t end,
                     NearestHit* hits) {
    int64_t count = 0;
    for (int64_t n = begin; n < end; n += L) {
      const int64_t columns = min(L, end - n);
      const float* rows[L];
      for (int64_t l = 0; l < L; l++) rows[l] = p.matrix + min(n + l, end - 1) * p.D;
      V cosines[kTogether];
      dot_rows<Op, float, kTogether>(rows_of(p), p.D, p.queries, p.D, rows, columns, cosines);
      const V inverse = load_n<float>(p.inverse + n, columns);
      for (int64_t r = 0; r < rows_of(p); r++) cosines[r] = rounded(cosines[r] * inverse);
      for (int64_t q = 0; q < p.Q; q++) {
        const V scores =
            p.multiplied ? multiplied(p, cosines[q], cosines[p.Q + q], cosines[2 * p.Q + q]) : cosines[q];
        uint32_t bits = bits_of((Mask)(scores > splat(bounds[q]))) & ((1u << columns) - 1);
        for (; bits; bits &= bits - 1) {
          const int lane = __builtin_ctz(bits);
          hits[count++] = {q, n + lane, scores[lane]};
        }
      }
    }
    return count;
  }
};

}  // namespace
}  // namespace pyrnn::embedding
