// What one call on a linear-chain conditional random field computes: plain structs, no std types, read by
// every instruction set's code. A path y of row b has the score
//
//   s(y) = start[y_1] + sum_t emissions[t, b, y_t] + sum_t transitions[y_{t-1}, y_t] + end[y_L]
//
// over the row's L steps. Forward: log_z[b] = log sum_y exp s(y). Backward: its derivatives, which are the
// probabilities of tags and of pairs of tags. Viterbi: the path of the highest score.
//
// Dimension key: T steps, B batch, C tags.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/pass.h"

namespace pyrnn::crf {

// S is the storage type, A that of sums (double for double, else float). Tensors are contiguous but for the
// emissions, whose tags lie side by side. -inf forbids a tag or a transition.
struct Problem {
  int64_t dtype, T, B, C;
  const int64_t* lengths;  // [B], or null: all T
  const void* emissions;   // S [T, B, C]
  int64_t stride_t, stride_b;
  const void* transitions;  // S [C, C], from row to column
  const void *start, *end;  // S [C] or null: zeros
  void* log_z;              // A [B]
  // A [T, B, C]: the logarithm of what leads to a tag, the largest of a step 0. Training keeps it, and
  // backward reads it, and log_z; null in inference.
  void* alpha;
  // Backward: gradient in, A [B]; gradients out, S, null: not wanted. What is behind lengths is the caller's.
  const void* g;
  void *d_emissions, *d_transitions, *d_start, *d_end;
  // Viterbi
  int64_t* tags;  // [T, B]
  void* scores;   // A [B]
};

// Rows of one block, of like length: they share every pass over the transitions.
struct Block {
  const int64_t* rows;    // indices into the batch by decreasing length
  const int64_t* length;  // of each
  int count;
};

// One storage type and instruction set.
struct Kernels {
  int block_rows;                                 // at most, in a Block
  size_t (*table_bytes)(const Problem&, Pass);    // what all threads read
  size_t (*scratch_bytes)(const Problem&, Pass);  // of each thread
  size_t (*sums_bytes)(const Problem&);           // of a group of blocks, backward
  void (*prepare)(const Problem&, Pass, char* table);
  void (*forward)(const Problem&, const Block&, char* table, char* scratch);
  // Adds to the sums, which begin as zeros.
  void (*backward)(const Problem&, const Block&, char* table, char* scratch, char* sums);
  // From the sums of all groups, `bytes` apart.
  void (*finish)(const Problem&, char* table, char* sums, size_t bytes, int64_t groups);
  size_t (*viterbi_bytes)(const Problem&, int64_t longest);  // of each thread
  void (*viterbi)(const Problem&, int64_t row, int64_t length, char* scratch);
};

}  // namespace pyrnn::crf
