// What each of the blocks that stay does, one piece of work after the other.
//
// A piece is a tile of queries, or one split of its keys. The pieces of a `section` of heads, whose keys and
// values the second-level cache holds together, come one after another, those of the last queries first:
// where order is causal they see the most keys, and what is long must not come last. Every second round goes
// through the blocks backwards, so that no block has the longest piece of each round.
#pragma once
#include "attention/cuda/block.h"

namespace pyrnn::attention::cuda {

struct Work {
  Place place;
  int64_t tile, split;
};

struct Schedule {
  const ForwardCall& call;
  unsigned round = 0;

  __device__ __forceinline__ unsigned parts() const { return unsigned(call.row_tiles * call.splits); }
  __device__ __forceinline__ unsigned pairs() const { return unsigned(call.p.B * call.p.K); }

  // The number of this block's next piece, or at least that of all pieces: there is none.
  __device__ __forceinline__ unsigned next() {
    const unsigned place = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    return round++ * gridDim.x + place;
  }
  __device__ __forceinline__ unsigned count() const { return parts() * pairs(); }

  __device__ __forceinline__ Work operator[](unsigned n) const {
    const unsigned section = unsigned(call.section), of_section = section * parts(), first = n / of_section;
    const unsigned heads = min(section, pairs() - first * section), rest = n % of_section;
    const unsigned part = rest / heads, splits = unsigned(call.splits);
    const Place place(call.p, first * section + rest % heads, part);
    return {place, call.row_tiles - 1 - part / splits, part % splits};
  }
};

}  // namespace pyrnn::attention::cuda
