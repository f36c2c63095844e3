// Counts of pairs of tokens that stand near each other, in bounded memory.
//
//   X_ij = sum over the places t of j and the distances n = 1..window of tokens i at t + n of weight(n),
//   weight(n) = 1 / n, or 1; both ways round where the window is symmetric. A window ends at a border.
//
// A count is kept as an integer, a sum of weights times one unit: the least common multiple of 1..window
// where that is below 2^32 (windows up to 22), so that 1 / n is exact, and 2^32 beyond, where it is rounded
// to a multiple of 2^-32. Sums of integers have no order: the counts do not depend on the memory.
//
// Pairs go through a hash table, whose sorted content is spilled to a file whenever it is full. It begins
// small and is twice as large after each spill, up to half of the memory. From then on pairs of the first
// ids, which are the frequent ones, have a cell each in a dense block, the other half. In the end all runs
// are merged. Runs are sorted by a random-looking bijection of the pair, so the table, whose slots are its
// upper bits, is almost in order as it lies, and the pairs come out in a random-looking order, too, which is
// what training on them needs. A symmetric window counts (i, j) and (j, i) as one pair until it is taken.
//
// One thread. A pair costs one access to a cell or a slot, which is fetched 64 pairs ahead.
#pragma once
#include <stdint.h>

#include <memory>
#include <vector>

#include "embedding/glove.h"
#include "embedding/spills.h"

namespace pyrnn::embedding {

class CooccurrenceCounter {
 public:
  // bytes: for cells, slots, and the buffers of the merge. file: a descriptor for spills, of an empty file
  // that is the caller's to close.
  CooccurrenceCounter(int64_t V, int64_t window, bool symmetric, bool harmonic, int64_t bytes, int file);

  // Ids [count] in [0, V], the next ones of the text; V is a border. Throws std::invalid_argument for others,
  // std::overflow_error where a count leaves 64 bits, std::system_error where the file cannot be
  // written.
  void add(const int32_t* ids, int64_t count);
  // The text is over.
  void finish();
  // The next pairs, up to `most` >= 2 of them; 0: there are no more. After `finish`.
  int64_t take(Pair* pairs, int64_t most);

  int64_t tokens() const { return tokens_; }
  int64_t runs() const { return spills.runs(); }

 private:
  static constexpr int kPending = 64;

  struct Pending {
    uint64_t* cell;  // null: of the table
    uint64_t key, amount;
  };

  void count_pair(uint32_t row, uint32_t column, uint64_t amount);
  void apply_pending();
  void add_to_table(uint64_t key, uint64_t amount);
  void make_cells();
  void make_table(int bits);
  void spill_table();
  void spill_cells();

  const int64_t V, window, bytes;
  const bool symmetric;
  uint64_t unit = 1;
  std::vector<uint64_t> weights;         // [window + 1]
  std::vector<int32_t> recent;           // the last tokens since a border, at most `window`
  std::vector<uint64_t> limits, starts;  // of each row of the dense block: columns below, and its first cell
  std::vector<uint64_t> cells;
  std::vector<Entry> table;
  int64_t used = 0, most_used = 0, tokens_ = 0;
  int bits = 0, most_bits = 0;  // of a slot's number
  Pending pending[kPending];
  int waiting = 0;
  Spills spills;
};

}  // namespace pyrnn::embedding
