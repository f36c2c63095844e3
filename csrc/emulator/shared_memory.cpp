// Shared memory: poisoned at the start, with red zones after every array and tile, within the device's limit.
//
// The poison is a NaN in every floating-point type, so what is read before it is written shows in results.
// Red zones are checked when the block ends; under AddressSanitizer the access itself is reported.
#include <stdlib.h>
#include <string.h>

#include <new>

#include "emulator/asan.h"
#include "emulator/launch_checks.h"
#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {

namespace {

constexpr unsigned char kPoison = 0xff, kRedZoneByte = 0xc3;
constexpr size_t kAlign = 1024;  // of what the 128-byte swizzle repeats
// With the red zones. The dynamic memory behind it is as far from a multiple of 1024 as a device may put it.
constexpr size_t kStaticRoom = 2 * kStaticSharedLimit + 128;
// Descriptors have 18 bits for an address, so the static arrays get none. The first kilobyte is the system's.
constexpr size_t kDynamicAddress = 1024 + 128;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

void paint_red_zone(char* p) {
  ASAN_UNPOISON_MEMORY_REGION(p, kRedZone);
  memset(p, kRedZoneByte, kRedZone);
  ASAN_POISON_MEMORY_REGION(p, kRedZone);
}

bool broken(const char* p) {
  ASAN_UNPOISON_MEMORY_REGION(p, kRedZone);
  for (size_t i = 0; i < kRedZone; i++)
    if (static_cast<unsigned char>(p[i]) != kRedZoneByte) return true;
  return false;
}

StaticArray& array_of(const void* key, size_t bytes, size_t align, size_t& number) {
  Launch& launch = launch_state;
  for (number = 0; number < launch.statics.size(); number++)
    if (launch.statics[number].key == key) return launch.statics[number];
  const size_t offset = round_up(launch.static_top, align < 16 ? 16 : align);
  size_t used = bytes;
  for (const StaticArray& other : launch.statics) used += other.bytes;
  if (used > kStaticSharedLimit || offset + bytes + kRedZone > kStaticRoom)
    fail("%zu bytes of static shared memory, the limit is %zu", used, kStaticSharedLimit);
  if (used + launch.shape.shared > size_t(shared_limit()))
    fail("%zu bytes of static and %zu of dynamic shared memory, the limit is %d", used, launch.shape.shared,
         shared_limit());
  launch.static_top = offset + bytes + kRedZone;
  launch.statics.push_back({key, offset, bytes});
  return launch.statics.back();
}

// What was written beyond; empty: nothing.
std::string broken_red_zone(const Block& block) {
  for (size_t i = 0; i < block.static_ready.size(); i++) {
    const StaticArray& array = launch_state.statics[i];
    if (block.static_ready[i] && broken(block.shared + array.offset + array.bytes))
      return "a write past the end of a static shared array of " + std::to_string(array.bytes) + " bytes";
  }
  for (const Tile& tile : block.tiles)
    if (broken(block.shared + tile.offset + round_up(tile.bytes, 16)))
      return "a write past the end of an allocated tile of " + std::to_string(tile.bytes) + " bytes, " +
             std::to_string(tile.offset - kStaticRoom) + " bytes into the dynamic shared memory";
  if (broken(block.shared + kStaticRoom + launch_state.shape.shared))
    return "a write past the end of the dynamic shared memory of " +
           std::to_string(launch_state.shape.shared) + " bytes";
  return "";
}

}  // namespace

void open_shared(Block& block) {
  const size_t dynamic = launch_state.shape.shared;
  const size_t needed = round_up(kStaticRoom + dynamic + kRedZone, kAlign);
  if (block.shared_bytes < needed) {
    free(block.shared);
    block.shared = static_cast<char*>(aligned_alloc(kAlign, needed));
    if (!block.shared) throw std::bad_alloc();
    block.shared_bytes = needed;
  }
  block.static_ready.clear();
  block.tiles.clear();
  ASAN_POISON_MEMORY_REGION(block.shared, kStaticRoom);
  ASAN_UNPOISON_MEMORY_REGION(block.shared + kStaticRoom, dynamic);
  memset(block.shared + kStaticRoom, kPoison, dynamic);
  paint_red_zone(block.shared + kStaticRoom + dynamic);
  race::forget(block.shared, needed);
}

void end_shared(Block& block) {
  const std::string error = broken_red_zone(block);
  if (!error.empty()) fail("%s", error.c_str());
  if (block.cluster->blocks.size() == 1) return;
  race::gone(block.shared, block.shared_bytes);
  for (size_t i = 0; i < block.static_ready.size(); i++)
    if (block.static_ready[i])
      memset(block.shared + launch_state.statics[i].offset, kPoison, launch_state.statics[i].bytes);
  ASAN_UNPOISON_MEMORY_REGION(block.shared + kStaticRoom, launch_state.shape.shared);
  memset(block.shared + kStaticRoom, kPoison, launch_state.shape.shared);
  ASAN_POISON_MEMORY_REGION(block.shared, block.shared_bytes);
}

void close_shared(Block& block) { ASAN_UNPOISON_MEMORY_REGION(block.shared, block.shared_bytes); }

void* static_shared(const void* key, size_t bytes, size_t align) {
  Block& block = *current->block;
  size_t number;
  const StaticArray& array = array_of(key, bytes, align, number);
  if (block.static_ready.size() <= number) block.static_ready.resize(number + 1);
  char* p = block.shared + array.offset;
  if (!block.static_ready[number]) {
    block.static_ready[number] = true;
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
    memset(p, kPoison, bytes);
    paint_red_zone(p + bytes);
  }
  return p;
}

unsigned char* dynamic_shared() {
  return reinterpret_cast<unsigned char*>(current->block->shared + kStaticRoom);
}

bool in_shared(const Block& block, const void* p, size_t bytes) {
  const char* at = static_cast<const char*>(p);
  return at >= block.shared && at + bytes <= block.shared + kStaticRoom + launch_state.shape.shared;
}

// All threads of a block allocate the same tiles. A tile that overlaps older ones replaces them: the kernel
// has begun to use the memory for something else.
void tile(void* p, size_t bytes) {
  Block& block = *current->block;
  const size_t offset = size_t(static_cast<char*>(p) - block.shared),
               end = offset + round_up(bytes, 16) + kRedZone;
  for (const Tile& known : block.tiles)
    if (known.offset == offset && known.bytes == bytes) return;
  if (!in_shared(block, p, bytes) || end > kStaticRoom + launch_state.shape.shared)
    fail("a tile of %zu bytes allocated at %zu leaves the dynamic shared memory of %zu bytes", bytes,
         offset - kStaticRoom, launch_state.shape.shared);
  for (size_t i = block.tiles.size(); i-- > 0;) {
    const Tile known = block.tiles[i];
    const size_t known_end = known.offset + round_up(known.bytes, 16) + kRedZone;
    if (known.offset >= end || offset >= known_end) continue;
    ASAN_UNPOISON_MEMORY_REGION(block.shared + known.offset, known_end - known.offset);
    block.tiles.erase(block.tiles.begin() + ptrdiff_t(i));
  }
  block.tiles.push_back({offset, bytes});
  paint_red_zone(block.shared + offset + round_up(bytes, 16));
}

void require_shared(const char* name, const void* p, size_t bytes, Site site) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0)
    fail("%s:%d: %s of a misaligned address", site.file, site.line, name);
  if (!in_shared(*current->block, p, bytes))
    fail("%s:%d: %s outside of this block's shared memory", site.file, site.line, name);
}

uint32_t shared_address(const void* p, Site site) {
  const Block& block = *current->block;
  if (!in_shared(block, p, 1) || p < block.shared + kStaticRoom)
    fail("%s:%d: shared_address outside of this block's dynamic shared memory", site.file, site.line);
  return uint32_t(size_t(static_cast<const char*>(p) - block.shared) - kStaticRoom + kDynamicAddress);
}

const char* from_shared_address(uint32_t address, uint32_t bytes) {
  if (address < kDynamicAddress || address + bytes > kDynamicAddress + launch_state.shape.shared)
    return nullptr;
  return current->block->shared + kStaticRoom + (address - kDynamicAddress);
}

void* map_shared_rank(void* shared, unsigned rank, Site site) {
  const Block& own = *current->block;
  if (!in_shared(own, shared, 1))
    fail("%s:%d: map_shared_rank of an address outside of this block's shared memory", site.file, site.line);
  if (rank >= own.cluster->blocks.size())
    fail("%s:%d: map_shared_rank of block %u in a cluster of %zu", site.file, site.line, rank,
         own.cluster->blocks.size());
  const Block& peer = *own.cluster->blocks[rank];
  if (peer.live == 0) fail("%s:%d: block %u of the cluster has ended", site.file, site.line, rank);
  return peer.shared + (static_cast<char*>(shared) - own.shared);
}

}  // namespace emulator
}  // namespace pyrnn
