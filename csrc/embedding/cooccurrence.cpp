#include "embedding/cooccurrence.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "common/workspace.h"
#include "embedding/random.h"

namespace pyrnn::embedding {
namespace {

constexpr uint64_t kMostUnit = uint64_t(1) << 32;
constexpr int64_t kMostWindow = 1 << 16;
constexpr int64_t kLeastBytes = 1 << 16;
constexpr int kFirstBits = 14;  // of the first table: 256 KiB
constexpr int64_t kTail =
    512;  // slots behind the last one that a key may have: a cluster does not wrap around

uint64_t unit_of(int64_t window) {
  uint64_t unit = 1;
  for (int64_t n = 2; n <= window && unit <= kMostUnit; n++) unit = std::lcm(unit, uint64_t(n));
  return std::min(unit, kMostUnit);
}

// Rows of the dense block: (a + 1) (b + 1) <= product, as frequencies of words fall with their rank. Of pairs
// without an order b >= a.
uint64_t row_cells(uint64_t a, uint64_t product, uint64_t V, bool symmetric) {
  const uint64_t limit = std::min(V, product / (a + 1)), first = symmetric ? a : 0;
  return limit > first ? limit - first : 0;
}

uint64_t count_cells(uint64_t product, uint64_t V, bool symmetric) {
  uint64_t total = 0;
  for (uint64_t a = 0; a < V; a++) {
    const uint64_t cells = row_cells(a, product, V, symmetric);
    if (!cells) break;
    total += cells;
  }
  return total;
}

}  // namespace

CooccurrenceCounter::CooccurrenceCounter(int64_t size, int64_t steps, bool both, bool harmonic,
                                         int64_t memory, int file)
    : V(size), window(steps), bytes(memory), symmetric(both), spills(file, memory) {
  if (V < 1 || V >= INT32_MAX || window < 1 || window > kMostWindow || bytes < kLeastBytes)
    throw std::invalid_argument("pyrnn: sizes of counts that do not fit together");
  if (harmonic) unit = unit_of(window);
  for (int64_t n = 0; n <= window; n++)
    weights.push_back(harmonic && n ? (unit + uint64_t(n) / 2) / uint64_t(n) : unit);

  const int64_t slots = bytes / 2 / int64_t(sizeof(Entry)) - kTail;
  while ((int64_t(2) << most_bits) <= slots) most_bits++;
  make_table(std::min(kFirstBits, most_bits));
}

void CooccurrenceCounter::make_cells() {
  const uint64_t most_cells = uint64_t(bytes) / 2 / sizeof(uint64_t);
  uint64_t product = 0;
  for (uint64_t step = uint64_t(1) << 62; step; step >>= 1)  // the largest that fits
    if (product + step <= uint64_t(V) * uint64_t(V) &&
        count_cells(product + step, uint64_t(V), symmetric) <= most_cells)
      product += step;
  uint64_t start = 0;
  for (uint64_t a = 0; a < uint64_t(V); a++) {
    const uint64_t row = row_cells(a, product, uint64_t(V), symmetric), first = symmetric ? a : 0;
    if (!row) break;
    limits.push_back(first + row);
    starts.push_back(start - first);  // may be below zero; the sum with a column is not
    start += row;
  }
  cells.assign(size_t(start), 0);
  advise_huge_pages(reinterpret_cast<char*>(cells.data()), cells.size() * sizeof(uint64_t));
}

void CooccurrenceCounter::make_table(int slot_bits) {
  table = {};  // first, so that there are never two
  bits = slot_bits;
  table.assign(size_t((int64_t(1) << bits) + kTail), Entry{0, 0});
  advise_huge_pages(reinterpret_cast<char*>(table.data()), table.size() * sizeof(Entry));
  most_used = (int64_t(1) << bits) / 4 * 3;
  used = 0;
}

void CooccurrenceCounter::add(const int32_t* ids, int64_t count) {
  for (int64_t n = 0; n < count; n++)
    if (ids[n] < 0 || ids[n] > V)
      throw std::invalid_argument("ids must lie in [0, " + std::to_string(V) + "], got " +
                                  std::to_string(ids[n]));
  // The tokens that a window may reach stand before each one without a gap.
  std::vector<int32_t> text(std::move(recent));
  const size_t known = text.size();
  text.insert(text.end(), ids, ids + count);
  size_t begin = 0;  // of the tokens since the last border
  for (size_t t = known; t < text.size(); t++) {
    if (text[t] == V) {
      begin = t + 1;
      continue;
    }
    tokens_++;
    const size_t reach = std::min(t - begin, size_t(window));
    for (size_t n = 1; n <= reach; n++) count_pair(uint32_t(text[t]), uint32_t(text[t - n]), weights[n]);
  }
  apply_pending();
  const size_t kept = std::min(text.size() - begin, size_t(window));
  recent.assign(text.end() - int64_t(kept), text.end());
}

inline void CooccurrenceCounter::count_pair(uint32_t row, uint32_t column, uint64_t amount) {
  if (symmetric) {
    if (row > column) std::swap(row, column);
    amount <<= row == column;  // each of the two is beside the other
  }
  Pending& next = pending[waiting];
  next.amount = amount;
  if (row < limits.size() && column < limits[row]) {
    next.cell = &cells[starts[row] + column];
    __builtin_prefetch(next.cell, 1);
  } else {
    next.cell = nullptr;
    next.key = scramble(uint64_t(row) << 32 | column);
    __builtin_prefetch(&table[next.key >> (64 - bits)], 1);
  }
  if (++waiting == kPending) apply_pending();
}

void CooccurrenceCounter::apply_pending() {
  for (int n = 0; n < waiting; n++) {
    const Pending& one = pending[n];
    if (one.cell)
      *one.cell = checked_sum(*one.cell, one.amount);
    else
      add_to_table(one.key, one.amount);
  }
  waiting = 0;
}

void CooccurrenceCounter::add_to_table(uint64_t key, uint64_t amount) {
  Entry* entry = &table[key >> (64 - bits)];
  while (entry->sum && entry->key != key) entry++;
  if (entry->sum) {
    entry->sum = checked_sum(entry->sum, amount);
    return;
  }
  *entry = {key, amount};
  // The last slot stays empty, so that every search ends.
  if (++used == most_used || entry + 2 >= table.data() + table.size()) spill_table();
}

void CooccurrenceCounter::spill_table() {
  Entry* to = table.data();
  for (const Entry& entry : table)
    if (entry.sum) *to++ = entry;
  spills.write(table.data(), to - table.data());
  if (bits == most_bits && cells.empty()) make_cells();
  make_table(std::min(bits + 1, most_bits));
}

void CooccurrenceCounter::spill_cells() {
  for (size_t row = 0; row < limits.size(); row++)
    for (uint64_t column = symmetric ? row : 0; column < limits[row]; column++)
      if (const uint64_t sum = cells[starts[row] + column])
        add_to_table(scramble(uint64_t(row) << 32 | column), sum);
}

void CooccurrenceCounter::finish() {
  const bool dense = !cells.empty();
  spill_table();
  if (dense) {
    spill_cells();
    spill_table();
  }
  cells = {}, table = {};
  spills.start_merge();
}

int64_t CooccurrenceCounter::take(Pair* pairs, int64_t most) {
  int64_t count = 0;
  while (count + 2 <= most) {
    const Entry entry = spills.next();
    if (!entry.sum) break;
    const uint64_t key = unscramble(entry.key);
    const int32_t row = int32_t(key >> 32), column = int32_t(key & UINT32_MAX);
    const double sum = double(entry.sum) / double(unit);
    pairs[count++] = {row, column, sum};
    if (symmetric && row != column) pairs[count++] = {column, row, sum};
  }
  return count;
}

}  // namespace pyrnn::embedding
