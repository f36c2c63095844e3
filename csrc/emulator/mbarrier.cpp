// Barriers in shared memory: PTX ISA, "mbarrier". Their state is kept beside the memory, which holds a mark:
// who writes over a barrier is found out.
#include <string.h>

#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {

namespace {

constexpr uint64_t kBarrierMark = 0x6d626172'5aa5c33cull;
constexpr int64_t kMostArrivals = (1 << 20) - 1, kMostBytes = (1 << 20) - 1;

void complete_phase(Block& block, uint64_t* address, Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.phase++;
  barrier.pending = barrier.expected;
  barrier.clock.swap(barrier.next_clock);
  barrier.next_clock.clear();
  launch_state.progress++;
  wake_awaiting(block, address);
}

// The phase that a wait for this parity means: the one after those that the thread knows to be complete, or
// the last of them. A thread that asks for the first time means what the device would take it for.
int64_t asked_phase(const char* name, Mbarrier& barrier, unsigned parity, Site site) {
  if (parity > 1) fail("%s:%d: %s for parity %u, expected 0 or 1", site.file, site.line, name, parity);
  int64_t& known = barrier.known[size_t(current->linear)];
  if (known < 0) known = (barrier.phase & 1) == int64_t(parity) ? barrier.phase : barrier.phase - 1;
  if (known < 0) known = 0;
  return (known & 1) == int64_t(parity) ? known : known - 1;
}

// Whether it is complete. Two phases further the device cannot tell it from the one that is under way.
bool passed(const char* name, Mbarrier& barrier, int64_t asked, Site site) {
  if (asked >= barrier.phase) return false;
  if (asked + 1 < barrier.phase)
    fail("%s:%d: %s for phase %lld of a barrier that has completed phase %lld: two behind", site.file,
         site.line, name, (long long)asked, (long long)barrier.phase - 1);
  int64_t& known = barrier.known[size_t(current->linear)];
  if (known < asked + 1) known = asked + 1;
  race::acquire_from(barrier.clock, current->id);
  return true;
}

void touch(uint64_t* barrier, bool atomic) {
  race::access(barrier, sizeof *barrier, {true, atomic, false, __builtin_return_address(0)});
}

}  // namespace

Mbarrier& valid_mbarrier(const char* name, uint64_t* barrier, Site site) {
  require_shared(name, barrier, sizeof *barrier, site);
  auto& all = current->block->async.mbarriers;
  const auto found = all.find(barrier);
  if (found == all.end()) fail("%s:%d: %s on a barrier that is not initialised", site.file, site.line, name);
  if (*barrier != kBarrierMark)
    fail("%s:%d: %s on a barrier that was written over", site.file, site.line, name);
  return found->second;
}

void mbarrier_init(uint64_t* barrier, unsigned count, Site site) {
  require_shared("mbarrier.init", barrier, sizeof *barrier, site);
  if (count < 1 || count > kMostArrivals)
    fail("%s:%d: mbarrier.init of %u arrivals, expected 1 to %lld", site.file, site.line, count,
         (long long)kMostArrivals);
  Block& block = *current->block;
  if (block.async.mbarriers.count(barrier) && *barrier == kBarrierMark)
    fail("%s:%d: mbarrier.init of a barrier that is initialised", site.file, site.line);
  touch(barrier, false);
  *barrier = kBarrierMark;
  block.async.mbarriers[barrier] = {
      count, count, 0, 0, current->linear, false, site, std::vector<int64_t>(block.threads.size(), -1),
      {},    {}};
}

void mbarrier_init_fence() {
  for (auto& [address, barrier] : current->block->async.mbarriers)
    if (barrier.initialiser == current->linear) barrier.fenced = true;
}

void mbarrier_arrive(const char* name, uint64_t* barrier, unsigned bytes, Site site) {
  Mbarrier& the = valid_mbarrier(name, barrier, site);
  touch(barrier, true);
  if (the.pending == 0)
    fail("%s:%d: %s is one arrival more than the %u of this phase, which still lacks %lld bytes", site.file,
         site.line, name, the.expected, (long long)the.bytes);
  the.bytes += bytes;
  if (the.bytes > kMostBytes)
    fail("%s:%d: %s expects %lld bytes in this phase, the limit is %lld", site.file, site.line, name,
         (long long)the.bytes, (long long)kMostBytes);
  the.pending--;
  race::release_into(the.next_clock, current->id);
  const std::string error = mbarrier_complete(*current->block, barrier, the.phase, 0);
  if (!error.empty()) fail("%s:%d: %s: %s", site.file, site.line, name, error.c_str());
  maybe_land_tensor_copy();
}

std::string mbarrier_complete(Block& block, uint64_t* barrier, int64_t phase, int64_t bytes) {
  const auto found = block.async.mbarriers.find(barrier);
  if (found == block.async.mbarriers.end() || *barrier != kBarrierMark)
    return "the barrier was written over while a copy was on its way";
  Mbarrier& the = found->second;
  if (the.phase != phase)
    return "bytes of a copy land after the phase of their barrier: it expected too few (arrive.expect_tx)";
  the.bytes -= bytes;
  if (the.bytes < -kMostBytes || (the.bytes < 0 && the.pending == 0))
    return std::to_string(-the.bytes) + " bytes more than this phase of the barrier expects have landed";
  complete_phase(block, barrier, the);
  return "";
}

bool mbarrier_try_wait(uint64_t* barrier, unsigned parity, Site site) {
  Mbarrier& the = valid_mbarrier("mbarrier.try_wait", barrier, site);
  touch(barrier, true);
  maybe_land_tensor_copy();
  const int64_t asked = asked_phase("mbarrier.wait", the, parity, site);
  if (passed("mbarrier.try_wait", the, asked, site)) return true;
  spin(site);  // who polls must let the others run
  return passed("mbarrier.try_wait", the, asked, site);
}

void mbarrier_wait(uint64_t* barrier, unsigned parity, Site site) {
  Mbarrier& the = valid_mbarrier("mbarrier.wait", barrier, site);
  touch(barrier, true);
  maybe_land_tensor_copy();
  const int64_t asked = asked_phase("mbarrier.wait", the, parity, site);
  while (!passed("mbarrier.wait", the, asked, site)) await(barrier, "mbarrier.wait", site);
}

std::string incomplete_barriers(const Block& block) {
  std::string text;
  for (const auto& [address, barrier] : block.async.mbarriers) {
    bool awaited = false;
    for (const Thread& thread : block.threads)
      awaited |= thread.state == State::awaiting && thread.awaits == address;
    if (!awaited) continue;
    text += "\n  the mbarrier of " + std::string(barrier.site.file) + ":" +
            std::to_string(barrier.site.line) + " lacks " + std::to_string(barrier.pending) +
            " arrivals and " + std::to_string(barrier.bytes) + " bytes in its phase " +
            std::to_string(barrier.phase);
  }
  for (int id = 0; id < kNamedBarriers; id++) {
    const NamedBarrier& barrier = block.async.named[id];
    if (barrier.arrived > 0)
      text += "\n  " + std::to_string(barrier.arrived) + " of " + std::to_string(barrier.threads) +
              " threads are at the named barrier " + std::to_string(id);
  }
  return text;
}

}  // namespace emulator
}  // namespace pyrnn
