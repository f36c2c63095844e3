// Who touched each eight bytes of memory since a write that everybody knows of.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>

#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {
namespace race {

namespace {

constexpr uintptr_t kCellBytes = 8, kPageCells = 512;
constexpr size_t kMaxReads = 96;  // of one cell: what is beyond replaces others, and a race may go unseen

struct Record {
  int thread;
  uint32_t when;
  uint8_t bytes;  // a bit for each of the cell
  bool atomic;
  const void* pc;
  bool async;
};

struct Cell {
  std::vector<Record> writes, reads;
  uint8_t read_only = 0;  // bytes that were loaded through the read-only path
};

using Page = std::vector<Cell>;
std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
uintptr_t last_number = ~uintptr_t(0);
Page* last_page = nullptr;

Cell* find(uintptr_t cell) {
  const uintptr_t number = cell / kPageCells;
  if (number != last_number) {
    const auto found = pages.find(number);
    if (found == pages.end()) return nullptr;
    last_number = number;
    last_page = found->second.get();
  }
  return &(*last_page)[cell % kPageCells];
}

Cell& make(uintptr_t cell) {
  if (Cell* found = find(cell)) return *found;
  pages[cell / kPageCells] = std::make_unique<Page>(kPageCells);
  return *find(cell);
}

// ---- words ------------------------------------------------------------------------------------------

// File and line of an address in the kernel's code; needs debug information and addr2line.
std::string source_of(const void* pc) {
  Dl_info info;
  if (!pc || !dladdr(pc, &info) || !info.dli_fname) return "an unknown location";
  std::string file = info.dli_fname;
  if (file.find('/') == std::string::npos) {
    char path[512];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    if (length > 0) file.assign(path, size_t(length));
  }
  char command[1024], line[1024];
  const auto offset = size_t(static_cast<const char*>(pc) - static_cast<const char*>(info.dli_fbase)) - 1;
  snprintf(command, sizeof command, "addr2line -sie '%s' %#zx 2>/dev/null", file.c_str(), offset);
  FILE* pipe = popen(command, "r");
  if (!pipe) return "an unknown location";
  // Inlined functions, innermost first: the kernel's own line is the first one outside of our headers.
  std::string found = "an unknown location";
  while (fgets(line, sizeof line, pipe)) {
    const std::string text(line, strcspn(line, " \n"));
    found = text;
    if (text.rfind("cuda_names.h:", 0) != 0 && text.rfind("ptx_host.h:", 0) != 0 &&
        text.rfind("ptx90_host.h:", 0) != 0)
      break;
  }
  pclose(pipe);
  return found;
}

std::string describe(const Record& record, bool writes) {
  const int block = record.thread / launch_state.threads_per_block;
  return std::string(record.atomic ? "an atomic " : "a ") + (writes ? "write" : "read") + " by thread " +
         std::to_string(record.thread % launch_state.threads_per_block) + " of block " +
         std::to_string(block) + " at " + source_of(record.pc);
}

std::string memory_of(uintptr_t address) {
  const auto p = reinterpret_cast<const void*>(address);
  return in_shared(*current->block, p, 1) ? "shared memory" : "memory";
}

// ---- one cell ---------------------------------------------------------------------------------------

bool race_between(const Record& a, const Record& b) {
  return (a.bytes & b.bytes) && !(a.atomic && b.atomic) && !happened_before(b.thread, b.when, a.thread);
}

// Drops what `record` stands for from now on: whoever comes after it comes after them.
void drop_covered(std::vector<Record>& records, const Record& record) {
  records.erase(std::remove_if(records.begin(), records.end(),
                               [&](const Record& old) {
                                 return !(old.bytes & ~record.bytes) &&
                                        happened_before(old.thread, old.when, record.thread);
                               }),
                records.end());
}

void check(uintptr_t cell, const Record& record, bool writes, const std::vector<Record>& others,
           bool others_write) {
  for (const Record& other : others) {
    if (!race_between(record, other)) continue;
    fail("data race on %s: %s, and before it, in no order, %s", memory_of(cell * kCellBytes).c_str(),
         describe(record, writes).c_str(), describe(other, others_write).c_str());
  }
}

// Writes of threads must have passed a proxy fence before a product of a warpgroup reads them. Copies that
// land over what threads have read or written need none here: no kernel orders those by more than barriers.
void check_proxy(uintptr_t cell, const Record& read, const std::vector<Record>& writes) {
  for (const Record& write : writes)
    if ((write.bytes & read.bytes) && !write.async && !proxy_fenced(write.thread, write.when, read.thread))
      fail("%s is read by wgmma without a proxy fence between, on %s", describe(write, true).c_str(),
           memory_of(cell * kCellBytes).c_str());
}

bool in_cluster(const void* p) {
  const auto& blocks = current->block->cluster->blocks;
  return std::any_of(blocks.begin(), blocks.end(),
                     [=](const Block* block) { return in_shared(*block, p, 1); });
}

// Each byte may come from another block through the cache that all blocks share, and through no other.
void check_caches(uintptr_t cell, const Record& read, const std::vector<Record>& writes) {
  const auto block_of = [](const Record& record) { return record.thread / launch_state.threads_per_block; };
  unsigned left = read.bytes;
  for (size_t i = writes.size(); i-- > 0 && left != 0; left &= ~unsigned(writes[i].bytes)) {
    const Record& write = writes[i];
    if (!(write.bytes & left) || block_of(write) == block_of(read)) continue;
    if (in_cluster(reinterpret_cast<const void*>(cell * kCellBytes))) return;
    fail("%s may be served by the first-level cache, which does not see %s: load it by __ldcg",
         describe(read, false).c_str(), describe(write, true).c_str());
  }
}

bool same(const Record& a, const Record& b) {
  return a.thread == b.thread && a.when == b.when && a.bytes == b.bytes && a.atomic == b.atomic &&
         a.async == b.async;
}

void touch_cell(uintptr_t number, const Record& record, const Touch& touch) {
  Cell& cell = make(number);
  if (touch.writes) {
    if (cell.read_only & record.bytes)
      fail("%s to memory that this launch also loads through the read-only path",
           describe(record, true).c_str());
    if (cell.reads.empty() && cell.writes.size() == 1 && same(cell.writes[0], record)) return;
    check(number, record, true, cell.writes, true);
    check(number, record, true, cell.reads, false);
    drop_covered(cell.writes, record);
    drop_covered(cell.reads, record);
    cell.writes.push_back(record);
    return;
  }
  uint8_t written = 0;
  for (const Record& write : cell.writes) written |= write.bytes;
  if (touch.read_only) {
    if (written & record.bytes)
      fail("%s through the read-only path, of memory that this launch writes",
           describe(record, false).c_str());
    cell.read_only |= record.bytes;
  }
  if (!cell.reads.empty() && same(cell.reads.back(), record)) return;
  check(number, record, false, cell.writes, true);
  if (record.async) check_proxy(number, record, cell.writes);
  if (touch.cached) check_caches(number, record, cell.writes);
  if ((record.bytes & ~written) && memory_of(number * kCellBytes) == "shared memory")
    fail("%s of shared memory that nobody has written", describe(record, false).c_str());
  if (cell.reads.size() >= kMaxReads) drop_covered(cell.reads, record);
  if (cell.reads.size() < kMaxReads)
    cell.reads.push_back(record);
  else
    cell.reads[(number * 31 + record.when + uintptr_t(record.thread)) % kMaxReads] = record;
}

bool of_interest(const void* p) {
  if (!current || quiet) return false;
  for (const void* builtin :
       {(const void*)&threadIdx, (const void*)&blockIdx, (const void*)&blockDim, (const void*)&gridDim})
    if (p >= builtin && p < static_cast<const char*>(builtin) + sizeof(uint3)) return false;
  const char *at = static_cast<const char*>(p), *stack = static_cast<const char*>(current->context.stack);
  return at < stack || at >= stack + kStackBytes;
}

}  // namespace

void access(const void* p, size_t bytes, const Touch& touch) {
  if (bytes == 0 || !of_interest(p)) return;
  const int thread = current->id;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(p), end = begin + bytes;
  for (uintptr_t cell = begin / kCellBytes; cell * kCellBytes < end; cell++) {
    const uintptr_t low = std::max(begin, cell * kCellBytes), high = std::min(end, (cell + 1) * kCellBytes);
    const auto mask = uint8_t(((1u << (high - low)) - 1) << low % kCellBytes);
    touch_cell(cell, {thread, now(thread), mask, touch.atomic, touch.pc, touch.async}, touch);
  }
}

void forget_all() {
  pages.clear();
  last_number = ~uintptr_t(0);
}

void forget(const void* p, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(p);
  for (uintptr_t cell = begin / kCellBytes; cell * kCellBytes < begin + bytes; cell++)
    if (Cell* found = find(cell)) *found = Cell{};
}

void gone(const void* p, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(p);
  const int own = current->block->linear;
  auto known = [](const Record& record) {  // to any thread of the block: then the block outlived it
    for (const Thread& thread : current->block->threads)
      if (happened_before(record.thread, record.when, thread.id)) return true;
    return false;
  };
  for (uintptr_t cell = begin / kCellBytes; cell * kCellBytes < begin + bytes; cell++) {
    const Cell* found = find(cell);
    if (!found) continue;
    for (const auto* records : {&found->writes, &found->reads})
      for (const Record& record : *records)
        if (record.thread / launch_state.threads_per_block != own && !known(record))
          fail("a block of a cluster ends while its shared memory is in use: %s",
               describe(record, records == &found->writes).c_str());
  }
}

}  // namespace race
}  // namespace emulator
}  // namespace pyrnn
