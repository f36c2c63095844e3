// Copies of boxes of a tensor: PTX ISA, "cp.async.bulk.tensor" and "Tensors".
//
// In half of the seeds a copy lands when it begins. In the others its destination holds poison until it
// lands: some time before a thread needs its barrier, in any order among the copies in flight.
//
// For the race detector a copy is its thread's write at the time of the call, and that thread's arrival at
// the barrier: who waits there is behind it, and nobody else.
#include <string.h>

#include "emulator/launch_state.h"
#include "emulator/race.h"

namespace pyrnn {
namespace emulator {

namespace {

// Where an element's row of the box begins in global memory; null: outside of the tensor.
const char* row_of(const TensorTile& tile, const int (&at)[4], const uint32_t (&index)[4]) {
  const char* p = static_cast<const char*>(tile.base);
  for (int d = 1; d < 4; d++) {
    const int64_t coordinate = int64_t(at[d]) + index[d];
    if (coordinate < 0 || coordinate >= int64_t(tile.sizes[d])) return nullptr;
    p += coordinate * int64_t(tile.strides[d - 1]);
  }
  return p;
}

// Elements [first, last) of a row of the box that lie in the tensor.
void valid_columns(const TensorTile& tile, int at, int64_t& first, int64_t& last) {
  first = at < 0 ? -int64_t(at) : 0;
  last = int64_t(tile.sizes[0]) - at;
  if (last > int64_t(tile.box[0])) last = tile.box[0];
}

template <class Visit>
void for_rows(const TensorTile& tile, Visit visit) {
  uint32_t index[4] = {}, number = 0;
  for (index[3] = 0; index[3] < tile.box[3]; index[3]++)
    for (index[2] = 0; index[2] < tile.box[2]; index[2]++)
      for (index[1] = 0; index[1] < tile.box[1]; index[1]++) visit(number++, index);
}

void note_accesses(const TensorCopy& copy, const void* pc) {
  const TensorTile& tile = copy.tile;
  int64_t first, last;
  valid_columns(tile, copy.at[0], first, last);
  constexpr int64_t kBytes = TensorTile::kElementBytes;
  for_rows(tile, [&](uint32_t, const uint32_t (&index)[4]) {
    const char* row = row_of(tile, copy.at, index);
    if (row && first < last)
      race::access(row + (copy.at[0] + first) * kBytes, size_t((last - first) * kBytes),
                   {false, false, false, pc});
  });
  race::access(copy.to, tile.box_bytes(), {true, false, false, pc, true});
}

std::string land_copy(Block& block, const TensorCopy& copy) {
  const TensorTile& tile = copy.tile;
  constexpr uint32_t kBytes = TensorTile::kElementBytes;
  int64_t first, last;
  valid_columns(tile, copy.at[0], first, last);
  for_rows(tile, [&](uint32_t number, const uint32_t (&index)[4]) {
    const char* row = row_of(tile, copy.at, index);
    for (int64_t column = 0; column < tile.box[0]; column++) {
      uintptr_t to =
          reinterpret_cast<uintptr_t>(copy.to) + (number * tile.box[0] + uint32_t(column)) * kBytes;
      if (tile.swizzle == Swizzle::bytes128) to ^= (to >> 7 & 7) << 4;
      if (row && column >= first && column < last)
        memcpy(reinterpret_cast<void*>(to), row + (copy.at[0] + column) * kBytes, kBytes);
      else
        memset(reinterpret_cast<void*>(to), 0, kBytes);
    }
  });
  const std::string error = mbarrier_complete(block, copy.barrier, copy.phase, tile.box_bytes());
  if (error.empty()) return "";
  return std::string(copy.site.file) + ":" + std::to_string(copy.site.line) + ": " + error;
}

}  // namespace

void tensor_load(void* shared, const TensorMap* map, const int (&at)[4], uint64_t* barrier, Site site) {
  static const char* const name = "cp.async.bulk.tensor";
  Block& block = *current->block;
  if (reinterpret_cast<uintptr_t>(map) % 64 != 0)
    fail("%s:%d: %s with a tensor map that is not 64-byte aligned", site.file, site.line, name);
  const TensorTile& tile = map->tile;
  quiet = true;  // its text is no memory of the kernel
  const std::string refusal = why_no_tensor_map(tile);
  quiet = false;
  if (!refusal.empty()) fail("%s:%d: %s: %s", site.file, site.line, name, refusal.c_str());
  if (reinterpret_cast<uintptr_t>(shared) % 128 != 0)
    fail("%s:%d: %s to an address that is not 128-byte aligned", site.file, site.line, name);
  if (!in_shared(block, shared, tile.box_bytes()))
    fail("%s:%d: %s of %u bytes leaves this block's shared memory", site.file, site.line, name,
         tile.box_bytes());
  Mbarrier& the = valid_mbarrier(name, barrier, site);
  if (!the.fenced)
    fail("%s:%d: %s on a barrier whose init no fence.mbarrier_init followed", site.file, site.line, name);
  const TensorCopy copy{tile, static_cast<char*>(shared), {at[0], at[1], at[2], at[3]}, barrier, the.phase,
                        site};
  race::access(barrier, sizeof *barrier, {true, true, false, __builtin_return_address(0)});
  note_accesses(copy, __builtin_return_address(0));
  race::release_into(the.next_clock, current->id);
  if (launch_state.copies_land_late) {
    memset(shared, 0xff, tile.box_bytes());
    block.async.copies.push_back(copy);
    launch_state.tensor_copies++;
    return;
  }
  const std::string error = land_copy(block, copy);
  if (!error.empty()) fail("%s", error.c_str());
}

bool land_tensor_copy(std::string& error) {
  if (launch_state.tensor_copies == 0) return false;
  launch_state.tensor_copies--;
  std::vector<Block*> blocks;
  blocks_with_copies(blocks);
  const bool free = order_is_free(), newest = launch_state.ready.schedule() == Schedule::reverse;
  Block& block = *blocks[free     ? launch_state.ready.random().below(blocks.size())
                         : newest ? blocks.size() - 1
                                  : 0];
  auto& copies = block.async.copies;
  const size_t number = free     ? size_t(launch_state.ready.random().below(copies.size()))
                        : newest ? copies.size() - 1
                                 : 0;
  const TensorCopy copy = copies[number];
  copies.erase(copies.begin() + ptrdiff_t(number));
  const bool own = quiet;
  quiet = true;  // nor is the text of an error
  error = land_copy(block, copy);
  quiet = own;
  launch_state.progress++;
  return true;
}

void maybe_land_tensor_copy() {
  if (!order_is_free() || launch_state.ready.random().below(4) != 0) return;
  std::string error;
  if (land_tensor_copy(error) && !error.empty()) fail("%s", error.c_str());
}

void proxy_fence() { race::proxy_fence(current->id); }

}  // namespace emulator
}  // namespace pyrnn
