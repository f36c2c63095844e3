// Global vectors (Pennington, Socher and Manning, GloVe: Global Vectors for Word Representation, EMNLP 2014,
// equations 8 and 9): word vectors w and b, context vectors c and d, trained on the counts X of pairs by
//
//   J = sum_ij f(X_ij) e_ij^2,  e_ij = w_i . c_j + b_i + d_j - log X_ij,  f(x) = min(1, (x / x_max)^alpha)
//
// One step of AdaGrad for each pair (Duchi, Hazan and Singer, 2011), of the halved gradient g = f e c_j of
// w_i, f e of b_i, and so on: G += g^2, then parameter -= learning_rate g / sqrt(G).
//
// Parallel over the pairs of a block, without locks (Recht et al., Hogwild, NIPS 2011): two threads may write
// to the same row, and one of the updates then gets lost. One thread gives the same bits again. A pair reads
// and writes 4 rows of S numbers; 12 operations a number, of which a root and a division take most of the
// time.
#pragma once
#include <stdint.h>

namespace pyrnn::embedding {

// A count as files hold it.
struct Pair {
  int32_t row, column;
  double count;
};

// What the kernels read of it: log X and f(X).
struct GlovePair {
  int32_t row, column;
  float log_count, weight;
};
static_assert(sizeof(Pair) == 16 && sizeof(GlovePair) == 16, "one takes the place of the other");

struct GloveProblem {
  int64_t V, S;
  int64_t count;    // pairs
  int64_t updates;  // 0: the loss alone
  int64_t shuffle;  // the seed of the order
  double learning_rate, x_max, alpha;
  // [2][V][2][S]: of words, then of contexts, parameters and their G. A row are the D numbers of a vector,
  // zeros, and the bias in the last place; S is a multiple of kRowUnit.
  float* rows;
  void* pairs;  // Pair [count]; has no meaning after the call
};

// A part of a block, in its order.
struct GlovePart {
  int64_t V, S, count;
  float learning_rate;
  float* rows;
  const GlovePair* pairs;
};

}  // namespace pyrnn::embedding
