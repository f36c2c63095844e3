// What kernels.cpp defines, once for each instruction set and storage type.
#pragma once
#include "common/kernel_sets.h"
#include "embedding/glove.h"
#include "embedding/nearest.h"
#include "embedding/word2vec.h"

namespace pyrnn::embedding {

// One storage type and instruction set; null but of float32.
struct Kernels {
  // Of the ids [begin, end), whose random numbers are those of `stream`. fetch: rows beyond this one are
  // fetched ahead; those before it are the most frequent words', and stay in cache.
  Word2VecSums (*word2vec)(const Word2VecProblem&, const Word2VecScratch&, int64_t begin, int64_t end,
                           int64_t stream, int64_t fetch);
  double (*glove_train)(const GlovePart&);
  double (*glove_loss)(const GlovePart&);
  int64_t (*nearest_panels)(const NearestProblem&);  // floats of the packed queries
  void (*nearest_pack)(const NearestProblem&, float* panels);
  int64_t (*nearest)(const NearestProblem&, const float* panels, const float* bounds, int64_t begin,
                     int64_t end, NearestHit* hits);
};

PYRNN_DECLARE_KERNELS(Kernels, embedding)

}  // namespace pyrnn::embedding
