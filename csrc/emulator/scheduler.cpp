// Runs a launch: admits blocks, switches among their threads, and says why nobody can go on.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "emulator/launch_checks.h"
#include "emulator/launch_state.h"
#include "emulator/race.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace pyrnn {
namespace emulator {

Launch launch_state;
Thread* current = nullptr;
bool quiet = false;

namespace {

constexpr int kIdleRounds = 2000;  // of all who spin, with nothing else happening: a livelock

struct Seed {
  uint64_t seed = 1, launches = 0;
  Seed() {
    if (const char* text = getenv("PYRNN_EMULATE_SEED")) seed = strtoull(text, nullptr, 10);
  }
} chosen;

StackPool stacks;
std::vector<std::unique_ptr<Block>> spare;  // keeps the capacity of its vectors
std::vector<std::unique_ptr<Block>> alive;
std::vector<std::unique_ptr<Cluster>> clusters;
uint64_t seen_progress;
int idle_rounds;

// ---- threads ----------------------------------------------------------------------------------------

void thread_main() {
  context_entered(launch_state.main);
  launch_state.body(launch_state.arguments);
  thread_exits(current);
  suspend(State::done, "its end", Site{"", 0});
  abort();  // nobody wakes one who is done
}

void begin_thread(Block& block, int linear, uint64_t warp_priority) {
  Thread& thread = block.threads[linear];
  const dim3 shape = launch_state.shape.block;
  thread.block = &block;
  thread.warp = &block.warps[linear / 32];
  thread.linear = linear;
  thread.lane = linear % 32;
  thread.id = block.linear * launch_state.threads_per_block + linear;
  thread.index = {linear % shape.x, linear / shape.x % shape.y, linear / (shape.x * shape.y)};
  thread.priority = warp_priority;
  thread.doing = "its beginning";
  thread.site = {"", 0};
  thread.awaits_cluster = false;
  thread.awaits = nullptr;
  thread.open_copies.clear();
  thread.copies.clear();
  thread.warp->lane[thread.lane] = &thread;
  thread.warp->exist |= 1u << thread.lane;
  prepare_context(thread.context, stacks.take(), size_t(thread.id), thread_main);
  make_ready(&thread);
}

void begin_block(int linear, Cluster& cluster) {
  const dim3 grid = launch_state.shape.grid;
  const int threads = launch_state.threads_per_block;
  if (spare.empty()) spare.push_back(std::make_unique<Block>());
  alive.push_back(std::move(spare.back()));
  spare.pop_back();
  Block& block = *alive.back();
  const unsigned n = unsigned(linear);
  block.index = {n % grid.x, n / grid.x % grid.y, n / (grid.x * grid.y)};
  block.linear = linear;
  block.live = threads;
  block.at_barrier = 0;
  block.cluster = &cluster;
  block.rank = unsigned(cluster.blocks.size());
  cluster.blocks.push_back(&block);
  cluster.live += threads;
  block.threads.resize(size_t(threads));
  block.warps.assign(size_t(threads + 31) / 32, Warp{});
  open_shared(block);
  begin_async(block);
  uint64_t priority = 0;
  for (int i = 0; i < threads; i++) {
    if (i % 32 == 0) priority = launch_state.ready.random().next() >> 2;
    begin_thread(block, i, priority);
  }
}

// Blocks of a cluster go together: they may still reach each other's shared memory.
void end_cluster(Cluster* cluster) {
  for (Block* block : cluster->blocks) {
    close_shared(*block);
    for (Thread& thread : block->threads) {
      char* stack = static_cast<char*>(const_cast<void*>(thread.context.stack));
      if (stack) stacks.give(stack);
      thread.context.stack = nullptr;
    }
    auto at = std::find_if(alive.begin(), alive.end(), [&](auto& owner) { return owner.get() == block; });
    spare.push_back(std::move(*at));
    alive.erase(at);
  }
  clusters.erase(
      std::find_if(clusters.begin(), clusters.end(), [&](auto& owner) { return owner.get() == cluster; }));
}

// ---- who goes on ------------------------------------------------------------------------------------

void wake_spinning() {
  std::vector<Thread*>& spinning = launch_state.spinning;
  for (Thread* thread : spinning) make_ready(thread);
  spinning.clear();
}

Thread* next_thread() {
  Launch& launch = launch_state;
  // Whoever waits for a copy waits long enough for it to land.
  while (launch.ready.empty() && land_tensor_copy(launch.error))
    if (!launch.error.empty()) return nullptr;
  if (!launch.spinning.empty()) {
    if (launch.ready.empty()) {
      idle_rounds = launch.progress == seen_progress ? idle_rounds + 1 : 0;
      seen_progress = launch.progress;
      if (idle_rounds > kIdleRounds) return nullptr;
      wake_spinning();
    } else if (order_is_free() && launch.ready.random().below(8) == 0) {
      wake_spinning();
    }
  }
  return launch.ready.pop();
}

// Goes on with `to`, or with the scheduler where it is null.
void go_on(Thread* to, bool for_good) {
  Thread* from = current;
  if (to == from) return;
  current = to;
  if (to) threadIdx = to->index, blockIdx = to->block->index;
  Context& main = launch_state.main;
  switch_context(from ? from->context : main, to ? to->context : main, for_good);
}

// Who waits where, threads of a location together.
std::string waiting_threads() {
  struct Location {
    const Thread* first;
    int count;
  };
  std::vector<Location> locations;
  for (auto& block : alive) {
    for (const Thread& thread : block->threads) {
      if (thread.state == State::done) continue;
      auto same = std::find_if(locations.begin(), locations.end(), [&](const Location& location) {
        return location.first->site.line == thread.site.line &&
               !strcmp(location.first->doing, thread.doing) &&
               !strcmp(location.first->site.file, thread.site.file);
      });
      if (same == locations.end())
        locations.push_back({&thread, 1});
      else
        same->count++;
    }
  }
  std::string text;
  for (const Location& location : locations) {
    const Thread& t = *location.first;
    char line[512];
    snprintf(line, sizeof line,
             "\n  %d threads at %s:%d in %s, the first is thread %u,%u,%u of block %u,%u,%u", location.count,
             t.site.file, t.site.line, t.doing, t.index.x, t.index.y, t.index.z, t.block->index.x,
             t.block->index.y, t.block->index.z);
    text += line;
  }
  for (auto& block : alive) text += incomplete_barriers(*block);
  return text;
}

// ---- the launch -------------------------------------------------------------------------------------

std::vector<int> cluster_order(int count) {
  std::vector<int> order;
  // The two schedules that draw nothing begin elsewhere under another seed.
  for (int i = 0; i < count; i++) order.push_back(int((uint64_t(i) + chosen.seed / 4) % uint64_t(count)));
  if (launch_state.ready.schedule() == Schedule::reverse) std::reverse(order.begin(), order.end());
  if (order_is_free())
    for (int i = count - 1; i > 0; i--)
      std::swap(order[size_t(i)], order[launch_state.ready.random().below(uint64_t(i) + 1)]);
  return order;
}

void end_finished_clusters() {
  for (size_t i = clusters.size(); i-- > 0;)
    if (clusters[i]->live == 0) end_cluster(clusters[i].get());
}

void run_blocks() {
  Launch& launch = launch_state;
  const dim3 grid = launch.shape.grid;
  const int blocks = int(grid.x * grid.y * grid.z), each = std::max(1, launch.shape.cluster);
  const std::vector<int> order = cluster_order(blocks / each);
  // Blocks that are not cooperative may not rely on each other, so only a few are there at once.
  const size_t at_once = launch.shape.cooperative ? order.size() : 1 + launch.ready.random().below(4);
  size_t next = 0;
  while (launch.error.empty()) {
    for (; clusters.size() < at_once && next < order.size(); next++) {
      clusters.push_back(std::make_unique<Cluster>());
      for (int rank = 0; rank < each; rank++) begin_block(order[next] * each + rank, *clusters.back());
    }
    if (clusters.empty()) return;
    if (Thread* thread = next_thread()) {
      go_on(thread, false);
      if (launch.error.empty()) end_finished_clusters();
    } else if (launch.error.empty()) {
      launch.error = launch.spinning.empty() ? "deadlock" : "livelock: who runs only polls";
      if (next < order.size()) launch.error += " (not all blocks have begun: the launch is not cooperative)";
      launch.error += waiting_threads();
    }
  }
}

}  // namespace

bool order_is_free() {
  return launch_state.ready.schedule() == Schedule::random ||
         launch_state.ready.schedule() == Schedule::one_ahead;
}

void make_ready(Thread* thread) {
  thread->state = State::ready;
  launch_state.ready.push(thread, thread->priority);
}

void suspend(State state, const char* doing, Site site) {
  Thread* self = current;
  self->state = state;
  self->doing = doing;
  self->site = site;
  const bool for_good = state == State::done;
  // A finished cluster is put away, and a fault is thrown, by the scheduler.
  const bool to_scheduler = for_good && (self->block->cluster->live == 0 || !launch_state.error.empty());
  go_on(to_scheduler ? nullptr : next_thread(), for_good);
}

void await(const void* what, const char* doing, Site site) {
  current->awaits = what;
  suspend(State::awaiting, doing, site);
}

void wake_awaiting(Block& block, const void* what) {
  for (Thread& thread : block.threads)
    if (thread.state == State::awaiting && thread.awaits == what) make_ready(&thread);
}

void blocks_with_copies(std::vector<Block*>& blocks) {
  for (auto& block : alive)
    if (!block->async.copies.empty()) blocks.push_back(block.get());
}

void reschedule() { go_on(next_thread(), false); }

void spin(Site site) {
  current->priority = launch_state.ready.lowest_priority();
  launch_state.spinning.push_back(current);
  suspend(State::spinning, "a loop that polls", site);
}

int lane() { return current->lane; }

void fail(const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  quiet = false;
  if (!current) throw std::runtime_error(text);
  char who[160];
  const Thread& t = *current;
  snprintf(who, sizeof who, " [thread %u,%u,%u of block %u,%u,%u]", t.index.x, t.index.y, t.index.z,
           t.block->index.x, t.block->index.y, t.block->index.z);
  launch_state.error = std::string(text) + who;
  suspend(State::done, "a fault", Site{"", 0});
  abort();
}

void run(const char* name, const LaunchShape& shape, void (*body)(void*), void* arguments) {
  static std::mutex one_at_a_time;
  static thread_local bool inside = false;
  if (inside) fail("a kernel launches a kernel");
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  Launch& launch = launch_state;
  const std::string where = std::string("emulated kernel '") + name + "': ";
  const std::string refusal = why_not_launched(shape);
  if (!refusal.empty()) throw std::runtime_error(where + refusal);
  launch.shape = shape;
  launch.body = body;
  launch.arguments = arguments;
  launch.threads_per_block = int(shape.block.x * shape.block.y * shape.block.z);
  launch.ready.start(Schedule(chosen.seed % 4), chosen.seed * 0x10001 + chosen.launches++);
  launch.copies_land_late = chosen.seed / 4 % 2 == 0;
  launch.tensor_copies = 0;
  launch.spinning.clear();
  launch.error.clear();
  launch.statics.clear();
  launch.static_top = 0;
  launch.main = Context{};
  launch.progress = seen_progress = 0;
  idle_rounds = 0;
  quiet = false;
  blockDim = shape.block;
  gridDim = shape.grid;
  race::start(int(shape.grid.x * shape.grid.y * shape.grid.z) * launch.threads_per_block);
  inside = true;
  run_blocks();
  inside = false;
  const std::string error = launch.error;
  while (!clusters.empty()) end_cluster(clusters.back().get());
  if (!error.empty()) throw std::runtime_error(where + error);
}

}  // namespace emulator
}  // namespace pyrnn

extern "C" void pyrnn_emulate_seed(uint64_t seed) {
  pyrnn::emulator::chosen.seed = seed;
  pyrnn::emulator::chosen.launches = 0;
}
