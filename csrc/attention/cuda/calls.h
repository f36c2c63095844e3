// What each kernel is given.
#pragma once
#include "attention/problem.h"

namespace pyrnn::attention::cuda {

// A split has so many tiles of the other side at least: fewer, and its start and the sum of its parts cost
// more than they gain.
constexpr int kTilesOfSplit = 4;

constexpr int kDeltaLanes = 8;  // threads that share a query in the delta's kernel

struct ForwardCall {
  Problem p;
  int64_t row_tiles, splits;
  int64_t section;  // heads of the keys, of all batch entries, that schedule.h takes together
  // With splits: what each found, not yet divided by its sum, A [splits, B * K * T * group, V], and the shift
  // and sum of its softmax, A [splits, B * K * T * group, 2].
  void *partial_out, *partial_statistics;
};

struct BackwardCall {
  Problem p;
  void* queries;  // QueryNumbers [B * K, T * group]
  // Tiles of rows of one batch entry and head of the keys; how many blocks share the other side of each.
  int64_t tiles, splits;
  // With splits: the sums of each, A [splits, B, heads, rows, features], of d_q or d_k and of d_v.
  void *partial, *partial_d_v;
};

// Of one gradient.
struct SplitSumCall {
  Heads to;
  int64_t B, heads, rows, features, splits;
  bool whole;              // the rows of `to` are made of 16 bytes
  int64_t pieces, blocks;  // threads of a row; blocks of a head
  double scale;
  const void* partial;
};

// Where sums of the mask's gradient go: [parts, batch, heads, queries, keys]. Each size is the mask's, but
// one a tile where it is broadcast over queries or keys.
struct MaskSums {
  int64_t parts, batch, heads, queries, keys;
  bool is_final;  // nothing is left to be summed: S, the gradient itself; else A
  void* data;
};

struct PairCall {
  Problem p;
  int64_t query_tiles, key_tiles;
  const void* queries;  // of the mask's gradient: as in BackwardCall
  MaskSums sums;
};

}  // namespace pyrnn::attention::cuda
