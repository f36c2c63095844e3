// Barriers of a block, operations of a warp, barriers of a cluster, and the end of a thread.
#include <string.h>

#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {

namespace {

// ---- block ------------------------------------------------------------------------------------------

void open_barrier(Block& block) {
  static std::vector<Thread*> waiting;  // kept: a barrier is too frequent for an allocation
  waiting.clear();
  for (Thread& thread : block.threads)
    if (thread.state == State::at_barrier) waiting.push_back(&thread);
  block.at_barrier = 0;
  block.voted = block.vote;
  block.vote = false;
  launch_state.progress++;
  race::barrier(waiting.data(), int(waiting.size()));
  for (Thread* thread : waiting) make_ready(thread);
}

// ---- warp -------------------------------------------------------------------------------------------

void combine_nothing(Lanes&) {}

bool complete(const Warp& warp, const Gathering& gathering) {
  const uint32_t absent = warp.exited | ~warp.exist;
  return ((gathering.arrived | absent) & gathering.mask) == gathering.mask;
}

// Everyone but `last`, who runs already, becomes ready.
void finish(Warp& warp, Gathering& gathering, const Thread* last) {
  gathering.open = false;
  gathering.lanes.present = gathering.arrived;
  launch_state.progress++;
  quiet = true;  // it reads the packets on the other lanes' stacks
  gathering.combine(gathering.lanes);
  quiet = false;
  Thread* arrived[32];
  int count = 0;
  for (int lane = 0; lane < 32; lane++)
    if (gathering.arrived >> lane & 1) arrived[count++] = warp.lane[lane];
  if (gathering.combine == combine_nothing) race::barrier(arrived, count);
  for (int i = 0; i < count; i++)
    if (arrived[i] != last) make_ready(arrived[i]);
}

Gathering& gathering_of(Warp& warp, uint32_t mask, uint32_t own, Combine combine, const char* name,
                        Site site) {
  Gathering* unused = nullptr;
  for (Gathering& gathering : warp.gathering) {
    if (!gathering.open) {
      if (!unused) unused = &gathering;
      continue;
    }
    if (gathering.mask == mask && !(gathering.arrived & own)) {
      if (gathering.combine != combine || gathering.lanes.site.line != site.line)
        fail("%s:%d: a lane is at %s, but others of its mask %08x wait at %s:%d in %s", site.file, site.line,
             name, mask, gathering.lanes.site.file, gathering.lanes.site.line, gathering.name);
      return gathering;
    }
    if (gathering.mask & mask)
      fail("%s:%d: %s with mask %08x, but lanes of it wait at %s:%d in %s with mask %08x", site.file,
           site.line, name, mask, gathering.lanes.site.file, gathering.lanes.site.line, gathering.name,
           gathering.mask);
  }
  unused->open = true;
  unused->combine = combine;
  unused->name = name;
  unused->mask = mask;
  unused->arrived = 0;
  unused->lanes.site = site;
  return *unused;
}

// ---- cluster ----------------------------------------------------------------------------------------

// `live` threads are yet to pass; who has exited is not waited for.
void open_cluster_barrier_if_complete(Cluster& cluster) {
  if (cluster.arrived == 0 || cluster.arrived != cluster.live) return;
  cluster.arrived = 0;
  cluster.phase++;
  cluster.clock.swap(cluster.next_clock);
  cluster.next_clock.clear();
  launch_state.progress++;
  for (Block* block : cluster.blocks)
    for (Thread& thread : block->threads)
      if (thread.state == State::at_cluster) make_ready(&thread);
}

}  // namespace

void block_barrier(Site site) {
  Block& block = *current->block;
  if (block.at_barrier == 0) block.barrier_site = site;
  const Site& first = block.barrier_site;
  if (first.line != site.line || strcmp(first.file, site.file) != 0)
    fail("divergent __syncthreads: this thread is at %s:%d, others of its block wait at %s:%d", site.file,
         site.line, first.file, first.line);
  current->state = State::at_barrier;
  if (++block.at_barrier == block.live) {
    open_barrier(block);
    reschedule();
  } else {
    suspend(State::at_barrier, "__syncthreads", site);
  }
}

bool block_barrier_or(bool vote, Site site) {
  Block& block = *current->block;
  block.vote |= vote;
  block_barrier(site);
  return block.voted;  // nobody comes to the next barrier's end before this thread does
}

void collective(const char* name, Combine combine, uint32_t mask, void* packet, Site site) {
  Thread* self = current;
  Warp& warp = *self->warp;
  const uint32_t own = 1u << self->lane;
  if (!(mask & own))
    fail("%s:%d: %s: lane %d is not in its own mask %08x", site.file, site.line, name, self->lane, mask);
  if (mask & (warp.exited | ~warp.exist) && combine != combine_nothing)
    fail("%s:%d: %s with mask %08x, but lanes %08x of it are not there", site.file, site.line, name, mask,
         mask & (warp.exited | ~warp.exist));
  Gathering& gathering = gathering_of(warp, mask, own, combine, name, site);
  gathering.arrived |= own;
  gathering.lanes.packet[self->lane] = packet;
  if (complete(warp, gathering)) {
    finish(warp, gathering, self);
    if (order_is_free()) {  // who comes last need not go on first
      make_ready(self);
      reschedule();
    }
  } else {
    suspend(State::in_warp, name, site);
  }
}

void warp_barrier(uint32_t mask, Site site) {
  collective("__syncwarp", combine_nothing, mask, nullptr, site);
}

void cluster_arrive(Site site) {
  Thread& self = *current;
  Cluster& cluster = *self.block->cluster;
  if (self.awaits_cluster)
    fail("%s:%d: this thread arrives twice at the cluster's barrier without a wait", site.file, site.line);
  self.awaits_cluster = true;
  self.cluster_phase = cluster.phase;
  race::release_into(cluster.next_clock, self.id);
  cluster.arrived++;
  open_cluster_barrier_if_complete(cluster);
}

void cluster_wait(Site site) {
  Thread& self = *current;
  Cluster& cluster = *self.block->cluster;
  if (!self.awaits_cluster)
    fail("%s:%d: this thread waits at the cluster's barrier without having arrived", site.file, site.line);
  if (self.cluster_phase == cluster.phase) suspend(State::at_cluster, "cluster_wait_acquire", site);
  self.awaits_cluster = false;
  race::acquire_from(cluster.clock, self.id);
}

unsigned cluster_rank() { return current->block->rank; }
unsigned cluster_size() { return unsigned(current->block->cluster->blocks.size()); }

void thread_exits(Thread* thread) {
  Block& block = *thread->block;
  Cluster& cluster = *block.cluster;
  Warp& warp = *thread->warp;
  if (!thread->open_copies.empty() || !thread->copies.empty()) fail("a thread ends with copies in flight");
  if (thread->awaits_cluster && thread->cluster_phase == cluster.phase) cluster.arrived--;
  block.live--;
  cluster.live--;
  warp.exited |= 1u << thread->lane;
  launch_state.progress++;
  for (Gathering& gathering : warp.gathering) {
    if (!gathering.open || !(gathering.mask >> thread->lane & 1)) continue;
    if (gathering.combine != combine_nothing)
      fail("a lane ends, but others of its mask %08x wait for it at %s:%d in %s", gathering.mask,
           gathering.lanes.site.file, gathering.lanes.site.line, gathering.name);
    if (complete(warp, gathering)) finish(warp, gathering, nullptr);
  }
  if (block.at_barrier > 0 && block.at_barrier == block.live) open_barrier(block);
  open_cluster_barrier_if_complete(cluster);
  if (block.live > 0) return;
  end_async(block);
  end_shared(block);
}

}  // namespace emulator
}  // namespace pyrnn
