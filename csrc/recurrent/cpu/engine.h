// One call of a recurrent layer: splits the work, provides scratch memory, runs the chosen kernels on the
// threads.
#pragma once
#include <string>

#include "common/pass.h"
#include "recurrent/problem.h"

namespace pyrnn::recurrent {

// How a problem is split among threads.
struct Split {
  int groups;      // thread groups, each with a slice at a time
  int group_size;  // threads of a group, which divide a slice's units
  int slices;      // of the batch, a direction
  std::string why;
};

// The cheapest split by the cost model, or the one with groups of `group_size` threads if that is not 0.
Split choose_split(const Problem& p, Pass pass, int threads, int group_size);

// `batch_sizes` [T] for packed input, else null: fills in p.step_offset and p.lengths.
void forward(Problem& p, const int64_t* batch_sizes, int threads, int group_size);
void backward(Problem& p, const int64_t* batch_sizes, int threads, int group_size);

}  // namespace pyrnn::recurrent
