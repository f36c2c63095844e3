#include "emulator/launch_checks.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>

#include "emulator/emulator.h"

namespace pyrnn {
namespace {

constexpr int kThreadsPerSm = 2048, kWarpsPerSm = kThreadsPerSm / 32, kBlocksPerSm = 32,
              kThreadsPerBlock = 1024;
constexpr int kReservedShared = 1024;  // the system's own, in each block
constexpr unsigned kLargestGridY = 65535, kLargestBlockZ = 64;

constexpr Device kH200{132, 227 * 1024, 65536, 50 << 20, 9, 0, true};
Device device = kH200;

// Lines of an architecture, a number of warps and a kernel's name without namespaces.
std::map<std::string, int> read_occupancy() {
  std::ifstream file(PYRNN_OCCUPANCY);
  if (!file) emulator::fail("the emulator cannot read %s", PYRNN_OCCUPANCY);
  std::map<std::string, int> warps;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t number = line.find(' ') + 1, name = line.find(' ', number) + 1;
    warps[line.substr(name)] = std::stoi(line.substr(number));
  }
  return warps;
}

}  // namespace

void emulate_device(int sms, int shared_per_block) {
  device = kH200;
  device.sms = sms;
  device.shared_per_block = shared_per_block;
}

Device device_properties(int) { return device; }

namespace emulator {

int shared_limit() { return device.shared_per_block; }

int resident_blocks(int threads, size_t shared) {
  if (threads < 1 || threads > kThreadsPerBlock || shared > size_t(device.shared_per_block)) return 0;
  const int of_threads = kThreadsPerSm / ((threads + 31) / 32 * 32);
  const size_t of_shared = (size_t(device.shared_per_block) + kReservedShared) / (shared + kReservedShared);
  return int(std::min<size_t>({size_t(of_threads), of_shared, size_t(kBlocksPerSm)}));
}

int warps_of_registers(const std::string& function) {
  static const std::map<std::string, int> known = read_occupancy();
  const std::string begin = "kKernel = ";
  size_t at = function.find(begin);
  if (at == std::string::npos) fail("no kernel in the name of %s", function.c_str());
  at += begin.size();
  const std::string kernel = function.substr(at, function.find_first_of(";]", at) - at);
  const auto found = known.find(std::regex_replace(kernel, std::regex("(\\{anonymous\\}|\\w+)::"), ""));
  return found == known.end() ? kWarpsPerSm : found->second;
}

std::string why_not_launched(const LaunchShape& shape) {
  const dim3 grid = shape.grid, block = shape.block;
  auto text = [](dim3 d) {
    return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z);
  };
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (threads < 1 || threads > kThreadsPerBlock || block.z > kLargestBlockZ)
    return "a block of " + text(block) + " threads, expected 1 to " + std::to_string(kThreadsPerBlock);
  if (blocks < 1 || blocks > INT32_MAX / threads || grid.y > kLargestGridY || grid.z > kLargestGridY)
    return "a grid of " + text(grid) + " blocks";
  if (shape.shared > size_t(device.shared_per_block))
    return std::to_string(shape.shared) + " bytes of dynamic shared memory, the limit is " +
           std::to_string(device.shared_per_block);
  const uint64_t resident = uint64_t(resident_blocks(int(threads), shape.shared)) * uint64_t(device.sms);
  if (shape.cooperative && blocks > resident)
    return "a cooperative launch of " + std::to_string(blocks) + " blocks, but only " +
           std::to_string(resident) + " are resident at once";
  if (shape.cluster < 0 || shape.cluster > kLargestCluster)
    return "a cluster of " + std::to_string(shape.cluster) + " blocks, the limit is " +
           std::to_string(kLargestCluster);
  if (shape.cluster > 1 && grid.x % unsigned(shape.cluster) != 0)
    return "a grid of " + text(grid) + " blocks does not divide into clusters of " +
           std::to_string(shape.cluster) + " along x";
  return "";
}

}  // namespace emulator
}  // namespace pyrnn
