#include "embedding/spills.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <queue>
#include <stdexcept>
#include <system_error>

namespace pyrnn::embedding {
namespace {

constexpr int64_t kLeastBuffer = 256;     // entries: a page
constexpr int64_t kMostBuffer = 1 << 16;  // larger reads gain nothing
constexpr int64_t kLeastRuns = 4, kMostRuns = 1024;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

int64_t clamp(int64_t x, int64_t least, int64_t most) { return std::min(std::max(x, least), most); }

// From nearly in order: each entry moves a few places.
void sort(Entry* entries, int64_t count) {
  for (int64_t n = 1; n < count; n++) {
    const Entry entry = entries[n];
    int64_t place = n;
    for (; place > 0 && entries[place - 1].key > entry.key; place--) entries[place] = entries[place - 1];
    entries[place] = entry;
  }
}

}  // namespace

uint64_t checked_sum(uint64_t a, uint64_t b) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) throw std::overflow_error("a pair occurs too often to be counted");
  return sum;
}

// The next entry of each of some runs, the least key first.
class Spills::Merge {
 public:
  Merge(int source, const Run* runs, int64_t count, int64_t buffer) : file(source), size(buffer) {
    for (int64_t n = 0; n < count; n++) inputs.push_back({runs[n], {}, 0});
    for (size_t n = 0; n < inputs.size(); n++) offer(n);
  }

  Entry next() {
    if (heads.empty()) return {0, 0};
    Entry entry = pop();
    while (!heads.empty() && heads.top().entry.key == entry.key)
      entry.sum = checked_sum(entry.sum, pop().sum);
    return entry;
  }

 private:
  struct Input {
    Run rest;
    std::vector<Entry> buffer;
    size_t place;
  };
  struct Head {
    Entry entry;
    size_t input;
    bool operator<(const Head& other) const { return entry.key > other.entry.key; }
  };

  Entry pop() {
    const Head head = heads.top();
    heads.pop();
    offer(head.input);
    return head.entry;
  }

  void offer(size_t n) {
    Input& input = inputs[n];
    if (input.place == input.buffer.size()) {
      input.buffer.resize(size_t(std::min(size, input.rest.count)));
      input.place = 0;
      read(input.buffer, input.rest.offset);
      input.rest.offset += int64_t(input.buffer.size());
      input.rest.count -= int64_t(input.buffer.size());
      if (input.buffer.empty()) return;
    }
    heads.push({input.buffer[input.place++], n});
  }

  void read(std::vector<Entry>& entries, int64_t offset) const {
    char* to = reinterpret_cast<char*>(entries.data());
    int64_t from = offset * int64_t(sizeof(Entry)), rest = int64_t(entries.size() * sizeof(Entry));
    while (rest > 0) {
      const ssize_t count = pread(file, to, size_t(rest), off_t(from));
      if (count < 0 && errno == EINTR) continue;
      if (count == 0) errno = EIO;  // the file became shorter
      if (count <= 0) fail("reading spilled counts");
      to += count, from += count, rest -= count;
    }
  }

  const int file;
  const int64_t size;
  std::vector<Input> inputs;
  std::priority_queue<Head> heads;
};

Spills::Spills(int descriptor, int64_t bytes)
    : file(descriptor),
      most_runs(clamp(bytes / int64_t(kLeastBuffer * sizeof(Entry)), kLeastRuns, kMostRuns)),
      buffer(clamp(bytes / int64_t(sizeof(Entry)) / most_runs, kLeastBuffer, kMostBuffer)) {}

Spills::~Spills() = default;

void Spills::write(Entry* entries, int64_t count) {
  if (!count) return;
  sort(entries, count);
  waiting.push_back({end, count});
  append(entries, count);
  written++;
}

void Spills::append(const Entry* entries, int64_t count) {
  const char* from = reinterpret_cast<const char*>(entries);
  int64_t to = end * int64_t(sizeof(Entry)), rest = count * int64_t(sizeof(Entry));
  while (rest > 0) {
    const ssize_t done = pwrite(file, from, size_t(rest), off_t(to));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("writing spilled counts");
    from += done, to += done, rest -= done;
  }
  end += count;
}

void Spills::merge_group(int64_t count) {
  Merge group(file, waiting.data(), count, buffer);
  Run run{end, 0};
  std::vector<Entry> output;
  for (Entry entry = group.next(); entry.sum; entry = group.next()) {
    output.push_back(entry);
    if (int64_t(output.size()) < buffer) continue;
    append(output.data(), int64_t(output.size()));
    output.clear();
  }
  append(output.data(), int64_t(output.size()));
  run.count = end - run.offset;
  waiting.erase(waiting.begin(), waiting.begin() + count);
  waiting.push_back(run);
}

void Spills::start_merge() {
  while (int64_t(waiting.size()) > most_runs) merge_group(most_runs);
  merge = std::make_unique<Merge>(file, waiting.data(), int64_t(waiting.size()), buffer);
}

Entry Spills::next() { return merge->next(); }

}  // namespace pyrnn::embedding
