// What one call of attention computes: plain structs, no std types, read by every instruction set's code.
//
//   score[i][j] = scale * q_i . k_j, then softcap * tanh(score / softcap) if softcap > 0,
//                 then - slope * |query_start + i - j|, then + mask[i][j], each step rounded
//   weight[i]   = exp(score[i] - m_i) / sum_i over the keys visible to query i; 0 for the others
//   out_i       = sum_j drop(weight[i][j]) v_j
//
// Key j is visible to query i if first_key(i) <= j < end_key(i) (causal, window and length make one
// interval), the key is no padding, and a boolean mask allows it; else it is masked. A query without a
// visible key has weights and output of 0.
//
// Dimension key: B batch, H heads of the queries, K heads of keys and values (H a multiple of K; query head h
// reads head h / (H / K)), T queries, S keys, D features of queries and keys, V features of values.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "common/dtype.h"

namespace pyrnn::attention {

// A tensor [B, heads, rows, features], any strides in elements, the features contiguous.
struct Heads {
  void* data;
  int64_t batch, head, row;
};

// A tensor [B, H, T, S] of any strides in elements, 0 where it is broadcast.
struct Scores {
  void* data;  // null: none
  int64_t batch, head, query, key;
};

enum MaskKind { kNoMask, kBoolMask, kFloatMask };            // bool: true takes part; float: S, added
enum WeightsKind { kNoWeights, kMeanWeights, kAllWeights };  // mean: over the heads, [B, T, S]

struct Problem {
  int64_t dtype, B, H, K, T, S, D, V;
  int64_t causal;                     // no key above query_start + i is visible to query i
  int64_t window_left, window_right;  // nor one farther away than these; negative: no limit
  int64_t query_start;                // where query 0 stands among the keys
  int64_t mask_kind, weights_kind;
  int64_t seed;  // of dropout
  double scale, softcap, dropout;

  Heads q, k, v, out;
  Scores mask;
  const int64_t* lengths;  // [B] keys of each sequence, or null: all S
  const uint8_t* padding;  // bool [B, S] contiguous, true: no key; or null
  const float* slopes;     // [B, H] with the strides slope_batch, slope_head; or null
  int64_t slope_batch, slope_head;
  // A (float or double) [B, H, 2, T]: m_i, near the maximum of score[i] (-inf where no key is visible), and
  // sum_i. Kept apart: the logarithm of a sum is lost beside an m of -1e9. Null where neither weights nor a
  // backward pass want them.
  void* statistics;
  Scores weights;  // out: S, drop(weight); the head's stride is not read for the mean

  // Backward only. Gradients in:
  Heads g_out;       // data null: zeros
  Scores g_weights;  // data null: zeros; for the mean, a tensor [B, T, S]
  // Gradients out, data null: not wanted
  Heads d_q, d_k, d_v;
  void* d_mask;  // S [B, H, T, S] contiguous: before it is summed over what the mask was broadcast over
};

// One pass of one storage type and instruction set, in stages that follow one another. A task is a part of a
// stage that any thread may take: what it computes does not depend on which thread, nor on how many there
// are.
struct StagedPass {
  int64_t (*tasks)(const Problem&, int stage);  // 0: the problem does not need this stage
  size_t (*shared_bytes)(const Problem&);       // what the stages hand on
  size_t (*scratch_bytes)(const Problem&);      // of one thread
  void (*run)(const Problem&, char* shared, char* scratch, int stage, int64_t task);
};
constexpr int kStages = 3;

struct Kernels {
  StagedPass forward, backward;
};

}  // namespace pyrnn::attention
