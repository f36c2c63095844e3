// Named barriers (PTX ISA, "bar") and the registers of warps ("setmaxnreg").
#include <algorithm>

#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {

namespace {

struct BarrierPacket {
  int id, threads;
  bool waits;
  uint64_t phase;  // that the lane takes part in
  Site site;
};

void arrive_at_named(Lanes& lanes) {
  auto& first = *static_cast<BarrierPacket*>(lanes.packet[0]);
  const Site site = first.site;
  for (int lane = 0; lane < 32; lane++) {
    auto& packet = *static_cast<BarrierPacket*>(lanes.packet[lane]);
    if (packet.id != first.id || packet.threads != first.threads)
      fail("%s:%d: bar: lanes of a warp differ in the barrier or its number of threads", site.file,
           site.line);
  }
  if (first.id < 1 || first.id >= kNamedBarriers)
    fail("%s:%d: bar %d, expected 1 to 15 (0 is that of __syncthreads)", site.file, site.line, first.id);
  if (first.threads < 32 || first.threads % 32 != 0 || first.threads > launch_state.threads_per_block)
    fail("%s:%d: bar %d of %d threads, expected whole warps of this block's %d", site.file, site.line,
         first.id, first.threads, launch_state.threads_per_block);
  Block& block = *current->block;
  NamedBarrier& barrier = block.async.named[first.id];
  if (barrier.arrived == 0)
    barrier.threads = first.threads, barrier.site = site;
  else if (barrier.threads != first.threads)
    fail("%s:%d: bar %d of %d threads, but %s:%d came to it with %d", site.file, site.line, first.id,
         first.threads, barrier.site.file, barrier.site.line, barrier.threads);
  for (int lane = 0; lane < 32; lane++) {
    static_cast<BarrierPacket*>(lanes.packet[lane])->phase = barrier.phase;
    race::release_into(barrier.next_clock, current->warp->lane[lane]->id);
  }
  barrier.arrived += 32;
  if (barrier.arrived < barrier.threads) return;
  barrier.arrived = 0;
  barrier.phase++;
  barrier.clock.swap(barrier.next_clock);
  barrier.next_clock.clear();
  wake_awaiting(block, &barrier);
}

struct RegistersPacket {
  int registers;
  bool more, granted;
  Site site;
};

// The block's registers are those of its launch; a warp gets more once others have given theirs back.
void ask_for_registers(Lanes& lanes) {
  auto& first = *static_cast<RegistersPacket*>(lanes.packet[0]);
  Warp& warp = *current->warp;
  Block& block = *current->block;
  if (first.more ? first.registers < warp.registers : first.registers > warp.registers)
    fail("%s:%d: setmaxnreg.%s to %d registers of a warp that has %d", first.site.file, first.site.line,
         first.more ? "inc" : "dec", first.registers, warp.registers);
  const int change = 32 * (first.registers - warp.registers);
  const bool granted = change <= block.async.free_registers;
  for (int lane = 0; lane < 32; lane++) static_cast<RegistersPacket*>(lanes.packet[lane])->granted = granted;
  if (!granted) return;
  block.async.free_registers -= change;
  warp.registers = first.registers;
  if (change < 0) wake_awaiting(block, &block.async.free_registers);
}

}  // namespace

void named_barrier(int id, int threads, bool waits, Site site) {
  BarrierPacket packet{id, threads, waits, 0, site};
  const char* name = waits ? "bar.sync" : "bar.arrive";
  collective(name, arrive_at_named, ~0u, &packet, site);
  if (!waits) return;
  NamedBarrier& barrier = current->block->async.named[id];
  if (barrier.phase == packet.phase) await(&barrier, name, site);
  race::acquire_from(barrier.clock, current->id);
}

void set_registers(int registers, bool more, Site site) {
  const char* name = more ? "setmaxnreg.inc" : "setmaxnreg.dec";
  for (;;) {
    RegistersPacket packet{registers, more, false, site};
    collective(name, ask_for_registers, ~0u, &packet, site);
    if (packet.granted) return;
    const int& free = current->block->async.free_registers;
    if (32 * (registers - current->warp->registers) > free) await(&free, name, site);
  }
}

void begin_async(Block& block) {
  block.async = BlockAsync{};
  // What a compiler may give a thread at most when the block is to start at all.
  constexpr int kRegisters = 65536, kMostOfThread = 256;
  const int each = std::min(kMostOfThread, kRegisters / launch_state.threads_per_block / 8 * 8);
  for (Warp& warp : block.warps) warp.registers = each;
  block.async.issued.resize((block.warps.size() + 3) / 4);
}

void end_async(const Block& block) {
  if (!block.async.copies.empty()) {
    const Site site = block.async.copies.front().site;
    fail("%s:%d: a block ends while a tensor copy is in flight", site.file, site.line);
  }
  for (size_t i = 0; i < block.warps.size(); i++) {
    const Warp &warp = block.warps[i], &first = block.warps[i / 4 * 4];
    if (!warp.products.open.empty() || !warp.products.groups.empty())
      fail("a block ends with products of a warpgroup in flight: wgmma.wait_group is missing");
    if (warp.products.issued != first.products.issued)
      fail("the warps of a warpgroup issued %llu and %llu products: wgmma is for all four",
           (unsigned long long)first.products.issued, (unsigned long long)warp.products.issued);
    if (warp.registers != first.registers)
      fail("the warps of a warpgroup ended with %d and %d registers: setmaxnreg is for all four",
           first.registers, warp.registers);
  }
}

}  // namespace emulator
}  // namespace pyrnn
