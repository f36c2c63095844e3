// Vector clocks. Threads that were at one barrier share one clock of all others' pasts and have only their
// own time apart, so a barrier costs one clock and not one for each thread.
#include <algorithm>
#include <memory>
#include <unordered_map>

#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {
namespace race {

namespace {

constexpr int kMaxThreads = 65536;

struct Timeline {
  std::shared_ptr<const Clock> past;   // of the others
  uint32_t time = 1;                   // own
  Clock fence_release;                 // what a relaxed store after the fence publishes
  Clock fence_acquire;                 // what relaxed loads saw and the next fence takes over
  std::vector<uint32_t> proxy_fences;  // when, by its own time
  Clock proxy_seen;                    // what others did before the newest of them
};

std::vector<Timeline> timelines;
std::unordered_map<const void*, Clock> flags;

void join(Clock& into, const Clock& from) {
  if (into.size() < from.size()) into.resize(from.size());
  for (size_t i = 0; i < from.size(); i++) into[i] = std::max(into[i], from[i]);
}

bool contains(const Clock& clock, const Clock& other) {
  if (clock.size() < other.size()) return false;
  bool more = false;
  for (size_t i = 0; i < other.size(); i++) more |= other[i] > clock[i];
  return !more;
}

}  // namespace

void start(int threads) {
  if (threads > kMaxThreads)
    fail("%d threads, the race detector takes up to %d: use a smaller launch", threads, kMaxThreads);
  forget_all();
  flags.clear();
  timelines.assign(size_t(threads), Timeline{});
  const auto nothing = std::make_shared<const Clock>(size_t(threads), 0u);
  for (Timeline& timeline : timelines) timeline.past = nothing;
}

void barrier(Thread* const* threads, int count) {
  auto joined = std::make_shared<Clock>();
  const Clock* last = nullptr;
  for (int i = 0; i < count; i++) {
    const Clock* past = timelines[size_t(threads[i]->id)].past.get();
    if (past != last) join(*joined, *past);
    last = past;
  }
  for (int i = 0; i < count; i++) {
    Timeline& timeline = timelines[size_t(threads[i]->id)];
    (*joined)[size_t(threads[i]->id)] = timeline.time++;
    timeline.past = joined;
  }
}

void release_into(Clock& clock, int thread) {
  Timeline& timeline = timelines[size_t(thread)];
  join(clock, *timeline.past);
  clock[size_t(thread)] = std::max(clock[size_t(thread)], timeline.time);
  timeline.time++;
}

void acquire_from(const Clock& clock, int thread) {
  Timeline& timeline = timelines[size_t(thread)];
  if (contains(*timeline.past, clock)) return;  // most polls see nothing new
  auto joined = std::make_shared<Clock>(*timeline.past);
  join(*joined, clock);
  timeline.past = joined;
}

void fence(int thread) {
  Timeline& timeline = timelines[size_t(thread)];
  acquire_from(timeline.fence_acquire, thread);
  timeline.fence_acquire.clear();
  timeline.fence_release.clear();
  release_into(timeline.fence_release, thread);
}

void proxy_fence(int thread) {
  Timeline& timeline = timelines[size_t(thread)];
  timeline.proxy_fences.push_back(timeline.time++);
  timeline.proxy_seen = *timeline.past;
}

bool proxy_fenced(int earlier, uint32_t when, int later) {
  const Timeline &writer = timelines[size_t(earlier)], &reader = timelines[size_t(later)];
  const auto fence = std::lower_bound(writer.proxy_fences.begin(), writer.proxy_fences.end(), when);
  if (fence != writer.proxy_fences.end() && happened_before(earlier, *fence, later)) return true;
  return !reader.proxy_seen.empty() && reader.proxy_seen[size_t(earlier)] >= when;
}

// A store begins a new chain of releases, a read-modify-write goes on with the old one.
void write_flag(int thread, const void* flag, bool reads, Order order) {
  Clock& clock = flags[flag];
  if (!reads) clock.clear();
  if (order == Order::release)
    release_into(clock, thread);
  else
    join(clock, timelines[size_t(thread)].fence_release);
}

void read_flag(int thread, const void* flag, Order order) {
  const auto found = flags.find(flag);
  if (found == flags.end()) return;
  if (order == Order::acquire)
    acquire_from(found->second, thread);
  else
    join(timelines[size_t(thread)].fence_acquire, found->second);
}

uint32_t now(int thread) { return timelines[size_t(thread)].time; }

bool happened_before(int earlier, uint32_t when, int later) {
  return earlier == later || (*timelines[size_t(later)].past)[size_t(earlier)] >= when;
}

}  // namespace race
}  // namespace emulator
}  // namespace pyrnn
