// Word vectors by predicting words from their neighbours: skip-gram and CBOW (Mikolov et al., Efficient
// Estimation of Word Representations in Vector Space, 2013), with negative sampling or hierarchical softmax
// (Mikolov et al., Distributed Representations of Words and Phrases and their Compositionality, 2013), and
// with character n-grams (Bojanowski et al., Enriching Word Vectors with Subword Information, 2017).
//
// A prediction has an input x, the mean of its rows of `input`, and targets with rows u and signs s:
//
//   loss = sum_t log(1 + exp(-s_t x . u_t)),   a_t = rate s_t / (1 + exp(s_t x . u_t))
//   u_t += a_t x,   each row of x += sum_t a_t u_t
//
// with every product and every right-hand side as it was before, but where a row comes twice among the
// targets: what is added to the second sees the first. That the rows of a mean take the whole sum, not their
// share of it, is word2vec's rule. Targets are the word (+) and negatives (-) that are not the word, each
// drawn anew, or the nodes of its Huffman code, + for a 0 and - for a 1. Skip-gram has one prediction for
// each word of the window; with `batched` those of a window are one step, up to kGroup of them, with one set
// of negatives.
//
// Parallel over tasks of about kTask ids, without locks (Recht et al., Hogwild, NIPS 2011): two threads may
// write to the same row, and one of the updates may get lost. All random numbers are a function of seed,
// epoch and position, so one thread gives the same bits again. A prediction of K targets reads and writes
// K + 1 rows of S floats in 6 K S operations.
#pragma once
#include <stdint.h>

namespace pyrnn::embedding {

// Floats of a row are a multiple of it, the last ones zero: whole vectors of every instruction set, and rows
// that begin with a cache line.
constexpr int64_t kRowUnit = 16;
constexpr int64_t kTask = 8192;  // ids of a task, about
constexpr int kGroup = 8;        // predictions of a window that are one step
constexpr int64_t kMostTargets = 1024;

// Walker's alias table: of column i the part `threshold` / 2^32 is i itself, the rest `other`.
struct AliasColumn {
  uint32_t threshold;
  int32_t other;
};

struct Word2VecProblem {
  int64_t V, S, count;     // words; floats of a row; ids of the block
  int64_t position;        // of its first id in the text
  int64_t epoch, seed;     // of the random numbers
  int64_t window, shrink;  // shrink: a window of each size from 1 to `window` is equally likely
  int64_t cbow, batched, updates;
  int64_t negatives, most_targets, most_rows;  // of a prediction: targets, and rows of its input
  double rate, last_rate;                      // at the begin and the end of the block
  const int32_t* ids;                          // [count] in [0, V]; V ends a sentence
  const uint32_t* keep;                        // [V] of 2^32 occurrences, how many are kept; null: all
  const AliasColumn* noise;                    // [V]; null: hierarchical softmax
  const int64_t* path_begin;                   // [V + 1] in path_nodes and path_signs
  const int32_t* path_nodes;
  const float* path_signs;
  const int64_t* bag_begin;  // [V + 1] in bag_rows; null: a word's only row is its own
  const int32_t* bag_rows;
  float* input;   // [words and n-grams][S]
  float* output;  // [words or nodes][S]
};

// What was done.
struct Word2VecSums {
  double loss;
  int64_t predictions, words;  // words: those that were not left out at random
};

// Memory that a task uses.
struct Word2VecScratch {
  int32_t* sentence;  // [2 kTask]
  int32_t* rows;      // [kAhead][most_rows or kGroup]
  int32_t* targets;   // [kAhead][most_targets]
  float* signs;       // [kAhead][signs_size]
  float* scores;      // [signs_size]
  float* vectors;     // [2][S]
};
constexpr int kAhead = 4;  // predictions whose rows are fetched ahead
inline int64_t signs_size(const Word2VecProblem& p) { return kGroup * ((p.most_targets + 3) / 4 * 4) + 16; }
inline int64_t rows_size(const Word2VecProblem& p) { return p.most_rows < kGroup ? kGroup : p.most_rows; }

}  // namespace pyrnn::embedding
