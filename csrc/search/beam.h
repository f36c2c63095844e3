// One beam search of many sources: all that it knows between two steps of the model.
//
// Dimension key: B sources that still search, K places of each, N = B K rows of the model's step, V
// vocabulary, W width of the beam.
//
// The same steps by torch's operators, and what they mean, are in pyrnn/search/beam.py.
#pragma once
#include <stdint.h>

#include <vector>

#include "search/problem.h"

namespace pyrnn::search {

// The logits of a step, as in Choice, and what ended outputs are divided by for their score.
struct Step {
  int dtype;
  const void *raw, *allowed;
  const std::vector<int64_t>& banned;
  double norm;
};

// What the model is to read next.
struct Next {
  int64_t rows = 0;   // how many; none: the search is over
  bool stays = true;  // whether each row goes on in its place
  double health = 0;  // sum of the largest logits: finite as long as the model is sound
};

// An output that has ended.
struct Found {
  double score, log_probability;
  int64_t last;  // its node
};

// A token that was written, and behind which; -1: the first one.
struct Node {
  int64_t before, token, row;  // row of the step's logits
};

class Beam {
 public:
  // limits, norm_at_limit: of each source the most tokens, and what such an output is divided by. eos_id: -1
  // for none.
  Beam(int64_t width, int64_t n_best, int64_t eos_id, int64_t V, const std::vector<int64_t>& limits,
       const std::vector<double>& norm_at_limit);

  int64_t rows() const { return int64_t(sources.size()) * places; }
  int64_t most_rows() const { return int64_t(sources.size()) * width; }
  int64_t vocabulary_size() const { return V; }
  // Numbers of the sources that still search.
  std::vector<int64_t> searching() const;

  // Reads logits [rows()][V]; writes up to most_rows() tokens and the rows that they continue.
  Next advance(const Step& step, int64_t* tokens, int64_t* from, int threads);

  // Of each source the best outputs, best first; of equal ones the shorter first.
  std::vector<std::vector<Found>> found() const;
  // The nodes of an output, the first token first.
  std::vector<const Node*> trace(const Found& output) const;

 private:
  struct Live {
    double log_probability;  // -inf: nothing lives in this place
    int64_t node;
  };
  struct Source {
    int64_t number, limit, open;  // open: places that no ended output has taken
    double norm_at_limit;
    std::vector<Live> live;  // [places], the best first
  };

  void take(Source& source, int64_t first_row, double norm);
  bool done(const Source& source) const;
  Next place(const std::vector<int64_t>& kept, int64_t* tokens, int64_t* from);

  int64_t width, n_best, eos_id, V, places = 1, length = 0;
  std::vector<Source> sources;
  std::vector<Node> nodes;
  std::vector<std::vector<Found>> ended;  // of every source, in the order in which they ended
  // Of the step's candidates, [rows][per_row].
  int64_t per_row = 0;
  std::vector<double> largest, sum, values;
  std::vector<int64_t> ids;
};

}  // namespace pyrnn::search
