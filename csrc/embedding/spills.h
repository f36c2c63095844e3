// Sorted runs of sums in a file, and their merge.
#pragma once
#include <stdint.h>

#include <memory>
#include <vector>

namespace pyrnn::embedding {

struct Entry {
  uint64_t key, sum;  // a sum of 0: no entry
};

// a + b; throws std::overflow_error where 64 bits do not hold it.
uint64_t checked_sum(uint64_t a, uint64_t b);

// Sorts entries that lie nearly in order, then writes them as runs and merges all runs.
class Spills {
 public:
  // file: a descriptor for reading and writing, of an empty file. bytes: for the buffers of the merge.
  Spills(int file, int64_t bytes);
  ~Spills();

  // A run, sorted by key here. Throws std::system_error.
  void write(Entry* entries, int64_t count);
  // No run comes any more. Where there are more than the buffers serve, groups of them become one.
  void start_merge();
  // The next entry of all runs, those of one key as one; a sum of 0: there are no more.
  Entry next();

  int64_t runs() const { return written; }

 private:
  struct Run {
    int64_t offset, count;  // entries
  };
  class Merge;

  void append(const Entry* entries, int64_t count);
  void merge_group(int64_t count);

  const int file;
  const int64_t most_runs, buffer;  // runs that a merge reads at once, entries of each one's buffer
  int64_t end = 0, written = 0;     // entries in the file, runs that were written
  std::vector<Run> waiting;
  std::unique_ptr<Merge> merge;
};

}  // namespace pyrnn::embedding
