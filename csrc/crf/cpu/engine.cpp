#include "crf/cpu/engine.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/dispatch.h"
#include "common/integers.h"
#include "common/workspace.h"

namespace pyrnn::crf {
namespace {

// Multiply-adds below which a second thread takes longer to come than the first to do them.
constexpr double kLittleWork = 1 << 17;
// The sums of the backward pass: so many groups of rows have their own, if these take no more memory. Neither
// depends on the number of threads, nor do the bits.
constexpr int64_t kGroups = 32;
constexpr size_t kSumsBytes = size_t(32) << 20;

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pyrnn: ") + what);
}

// A tensor without storage that slipped past Python has a null pointer.
void check(const Problem& p) {
  require(p.dtype >= 0 && p.dtype < kCpuDTypes, "unknown dtype");
  require(p.T > 0 && p.B > 0 && p.C > 0, "empty problem");
  require(p.emissions && p.transitions, "tensor without storage");
  for (int64_t b = 0; p.lengths && b < p.B; b++)
    require(p.lengths[b] >= 0 && p.lengths[b] <= p.T, "a length outside the sequence");
}

// The rows by decreasing length, cut into blocks.
struct Rows {
  std::vector<int64_t> index, length;
  int64_t block;

  Rows(const Problem& p, int64_t block_rows) : index(p.B), length(p.B), block(block_rows) {
    const auto length_of = [&](int64_t b) { return p.lengths ? p.lengths[b] : p.T; };
    std::iota(index.begin(), index.end(), 0);
    std::stable_sort(index.begin(), index.end(),
                     [&](int64_t a, int64_t b) { return length_of(a) > length_of(b); });
    for (int64_t i = 0; i < p.B; i++) length[i] = length_of(index[i]);
  }
  int64_t blocks() const { return ceil_div(int64_t(index.size()), block); }
  Block operator[](int64_t i) const {
    const int64_t begin = i * block;
    return {&index[begin], &length[begin], int(std::min(block, int64_t(index.size()) - begin))};
  }
};

int threads_for(const Problem& p, int threads) {
  const double work = double(p.T) * double(p.B) * double(p.C) * double(p.C);
  return work <= kLittleWork ? 1 : threads;
}

}  // namespace

void forward(const Problem& p, int threads) {
  check(p);
  const Kernels& found = *kernels(int(p.dtype)).crf;
  const Rows rows(p, found.block_rows);
  threads = threads_for(p, threads);
  const size_t table = size_t(round_up(found.table_bytes(p, Pass::forward), 64));
  const size_t own = size_t(round_up(found.scratch_bytes(p, Pass::forward), 64));
  char* memory = workspace(table + size_t(threads) * own);
  found.prepare(p, Pass::forward, memory);
  for_tasks(rows.blocks(), threads, [&](int64_t block, int thread) {
    found.forward(p, rows[block], memory, memory + table + size_t(thread) * own);
  });
}

void backward(const Problem& p, int threads) {
  check(p);
  const Kernels& found = *kernels(int(p.dtype)).crf;
  const Rows rows(p, found.block_rows);
  threads = threads_for(p, threads);
  const size_t sums = size_t(round_up(found.sums_bytes(p), 64));
  const int64_t groups = std::clamp(int64_t(kSumsBytes / sums), int64_t(1), std::min(kGroups, rows.blocks()));
  const size_t table = size_t(round_up(found.table_bytes(p, Pass::backward), 64));
  const size_t own = size_t(round_up(found.scratch_bytes(p, Pass::backward), 64));
  char* memory = workspace(table + size_t(groups) * sums + size_t(threads) * own);
  char *all_sums = memory + table, *scratch = all_sums + size_t(groups) * sums;
  std::memset(all_sums, 0, size_t(groups) * sums);
  found.prepare(p, Pass::backward, memory);
  for_tasks(groups, threads, [&](int64_t group, int thread) {
    const int64_t end = rows.blocks() * (group + 1) / groups;
    for (int64_t block = rows.blocks() * group / groups; block < end; block++)
      found.backward(p, rows[block], memory, scratch + size_t(thread) * own, all_sums + size_t(group) * sums);
  });
  found.finish(p, memory, all_sums, sums, groups);
}

void viterbi(const Problem& p, int threads) {
  check(p);
  const Kernels& found = *kernels(int(p.dtype)).crf;
  const Rows rows(p, 1);
  threads = threads_for(p, threads);
  const size_t own = size_t(round_up(found.viterbi_bytes(p, rows.length[0]), 64));
  char* memory = workspace(size_t(threads) * own);
  for_tasks(p.B, threads, [&](int64_t row, int thread) {
    found.viterbi(p, rows.index[row], rows.length[row], memory + size_t(thread) * own);
  });
}

}  // namespace pyrnn::crf
