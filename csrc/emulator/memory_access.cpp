// Accesses that are more than loads and stores: atomics, fences, copies that land later.
#include <string.h>

#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {

namespace {

void land(const Copy& copy) {
  if (copy.valid) race::access(copy.from, size_t(copy.bytes), {false, false, false, copy.pc});
  race::access(copy.to, size_t(copy.bytes), {true, false, false, copy.pc});
  if (copy.valid)
    memcpy(copy.to, copy.from, size_t(copy.bytes));
  else
    memset(copy.to, 0, size_t(copy.bytes));
}

}  // namespace

void fence() { race::fence(current->id); }

Atomic::Atomic(const void* p, size_t bytes, bool reads, bool writes, Order order)
    : p_(p), reads_(reads), order_(order) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) fail("a misaligned atomic access of %zu bytes", bytes);
  race::access(p, bytes, {writes, true, false, __builtin_return_address(0)});
  if (writes) race::write_flag(current->id, p, reads, order);
  if (writes) launch_state.progress++;
  quiet = true;
}

Atomic::~Atomic() {
  quiet = false;
  if (reads_ && order_ != Order::release) race::read_flag(current->id, p_, order_);
}

void read_only(const void* p, size_t bytes) {
  race::access(p, bytes, {false, false, true, __builtin_return_address(0)});
}

void load_shared_cache(void* to, const void* p, size_t bytes) {
  race::access(p, bytes, {false, false, false, __builtin_return_address(0)});
  memcpy(to, p, bytes);
}

void copy_async(void* shared, const void* global, int bytes, bool valid, Site site) {
  Thread& self = *current;
  const uintptr_t to = reinterpret_cast<uintptr_t>(shared), from = reinterpret_cast<uintptr_t>(global);
  if (to % size_t(bytes) != 0 || from % size_t(bytes) != 0)
    fail("%s:%d: cp.async of %d bytes from or to a misaligned address", site.file, site.line, bytes);
  if (!in_shared(*self.block, shared, size_t(bytes)))
    fail("%s:%d: cp.async to an address outside of this block's shared memory", site.file, site.line);
  if (valid && in_shared(*self.block, global, 1))
    fail("%s:%d: cp.async from shared memory", site.file, site.line);
  const Copy copy{shared, global, bytes, valid, __builtin_return_address(0)};
  if (!launch_state.copies_land_late) {
    land(copy);
    return;
  }
  // Nobody else may use the destination from here on, and it holds no valid data until the copy lands.
  race::access(shared, size_t(bytes), {true, false, false, copy.pc});
  memset(shared, 0xff, size_t(bytes));
  self.open_copies.push_back(copy);
}

void copy_commit() {
  current->copies.push_back(std::move(current->open_copies));
  current->open_copies.clear();
}

void copy_wait(int newest) {
  std::vector<CopyGroup>& groups = current->copies;
  while (groups.size() > size_t(newest)) {
    for (const Copy& copy : groups.front()) land(copy);
    groups.erase(groups.begin());
  }
}

}  // namespace emulator
}  // namespace pyrnn
