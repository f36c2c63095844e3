// A block of a text: checks, tasks, threads. Addresses are the caller's to check.
#pragma once
#include "embedding/word2vec.h"

namespace pyrnn::embedding {

// Throws std::invalid_argument for sizes that do not fit together, or an id outside [0, V].
Word2VecSums word2vec(const Word2VecProblem& p, int threads);

}  // namespace pyrnn::embedding
