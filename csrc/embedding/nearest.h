// The rows of a matrix with the highest scores for each query, all rows looked at:
//
//   cos_x[n] = (x . m_n) inverse[n]
//   score = cos_x of the query x, or of three of them, a, b and c, with s = (cos + 1) / 2
//   score = s_b s_c / (s_a + epsilon)   (Levy and Goldberg, 2014, equation 4)
//
// Rows are ranked by their score, equal ones by their number, so the result does not depend on who looks at
// which rows. Threads take blocks of rows and keep the best of each query; in a block only what beats the
// query's worst is looked at again. The matrix is read once, 2 Q N D operations.
#pragma once
#include <stdint.h>

namespace pyrnn::embedding {

struct NearestProblem {
  int64_t N, D, Q, k;  // rows, features, queries, results of each query
  int64_t multiplied;  // whether a query is three, of the second score
  double epsilon;
  const float* queries;  // [Q][D], or [3][Q][D]: all a, all b, all c
  const float* matrix;   // [N][D]
  const float* inverse;  // [N]
  float* scores;         // [Q][k], best first; -inf where there are fewer results
  int64_t* numbers;      // [Q][k] of their rows; 0 where there are fewer
};

// Bounds of queries are read in whole vectors: there are a multiple of it.
constexpr int64_t kNearestBounds = 32;

struct NearestHit {
  int64_t query, number;
  float score;
};

}  // namespace pyrnn::embedding
