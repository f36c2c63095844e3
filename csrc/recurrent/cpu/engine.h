// One call of a recurrent layer: splits the work, provides scratch memory, runs the chosen kernels on the
// threads.
#pragma once
#include <string>

#include "common/pass.h"
#include "recurrent/problem.h"

namespace pyrnn::recurrent {

// How a problem is split among threads.
struct Split {
  int groups;   // teams walked at the same time
  int members;  // threads that share a team's units
  int slices;   // teams a direction: parts of the batch
  std::string why;
};

// The cheapest split by the cost model, or the one with `members` threads a team if that is not 0.
Split choose_split(const Problem& p, Pass pass, int threads, int members);

// `batch_sizes` [T] for packed input, else null: fills in p.step_offset and p.lengths.
void forward(Problem& p, const int64_t* batch_sizes, int threads, int members);
void backward(Problem& p, const int64_t* batch_sizes, int threads, int members);

}  // namespace pyrnn::recurrent
