// What csrc/common/cuda and the recurrence's engine ask of the CUDA runtime, and what they make of its
// errors: the code that runs beside a GPU, on a runtime that mock_cudart.h makes up. Kernels do nothing.
//
// Prints the name of the case that its argument tells, and "ok", "wrong" or the words of the exception.
#include "mock_cudart.h"
// After the runtime:
#include <stdio.h>
#include <string.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/cuda/check.h"
#include "recurrent/cuda/engine.h"

namespace pyrnn::recurrent::cuda {
namespace {

// ---- kernels of every storage type, of one tile of rows each ------------------------------------------

constexpr int kRows = 8;
constexpr size_t kShared = 1024;  // of a block, without its weights

template <int>
void kernel(Recurrence) {}

template <int kNumber>
cudaError_t launch_kernel(const Recurrence& w, const LaunchShape& shape, cudaStream_t stream) {
  return launch("recurrence", kernel<kNumber>, shape, stream, w);
}

constexpr Kernel kGrid{kRows, kShared, launch_kernel<0>,
                       [](size_t shared, int) { return blocks_per_sm<kernel<0>>(kBlockThreads, shared); }};
constexpr Kernel kOfCluster{kRows, kShared, launch_kernel<1>, [](size_t shared, int size) {
                              return clusters_at_once<kernel<1>>(kBlockThreads, shared, size);
                            }};
constexpr PassKernels kPassKernels{4, 1, {kGrid, kGrid}, {kOfCluster, kOfCluster}, launch_kernel<2>};
constexpr CellKernels kCell{{kPassKernels, kPassKernels}, launch_kernel<3>};

template <size_t... kCells>
constexpr KernelSet kernel_set(size_t element, std::index_sequence<kCells...>) {
  return {element, 4, 32, {((void)kCells, kCell)...}};
}

}  // namespace

extern "C" {
extern const KernelSet pyrnn_cuda_float32 = kernel_set(4, std::make_index_sequence<kCellKinds>{});
extern const KernelSet pyrnn_cuda_bfloat16 = kernel_set(2, std::make_index_sequence<kCellKinds>{});
extern const KernelSet pyrnn_cuda_float64 = kernel_set(8, std::make_index_sequence<kCellKinds>{});
extern const KernelSet pyrnn_cuda_float16 = kernel_set(2, std::make_index_sequence<kCellKinds>{});
}

namespace {

// ---- a pass over T = 3 steps, with addresses that nobody reads ----------------------------------------

constexpr int kLstm = 3, kOneDirection = 1;
constexpr int64_t kSteps = 3, kBatch = 8;
char place;

void run_pass(int64_t H, int dtype = 0) {
  const Sizes n{kLstm, dtype, kSteps, kBatch, H, kOneDirection, 0};
  Recurrence w{};
  w.T = kSteps, w.B = kBatch, w.H = H, w.D = kOneDirection;
  w.y.data = &place;
  Direction& direction = w.direction[0];
  direction.w_hh = direction.gx = direction.last_h = direction.last_c = &place;
  direction.s1 = kSteps;
  run(n, false, w, {0, kChoose, cudaStream_t(&place), &place, true});
}

// The launches behind the one that prepares the pass.
bool launched(size_t count, const void* of, bool cooperative, unsigned cluster) {
  const auto& all = mock::runtime.launched;
  if (all.size() != count + 1 || all[0].kernel != (const void*)kernel<2>) return false;
  for (size_t i = 1; i < all.size(); i++) {
    const mock::Launched& call = all[i];
    if (call.kernel != of || call.cooperative != cooperative || call.cluster != cluster) return false;
    if (call.block.x != kBlockThreads || call.stream != cudaStream_t(&place)) return false;
  }
  return true;
}

template <int kNumber>
const void* address() {
  return reinterpret_cast<const void*>(kernel<kNumber>);
}

// What a kernel of one number gets.
int64_t seen;
void look(int64_t) {}
void note(const mock::Launched& call) { seen = *static_cast<int64_t*>(call.arguments[0]); }

template <class Call>
std::string words_of(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

bool raised(const std::string& words) {
  if (!words.empty()) throw std::runtime_error(words);
  return false;
}

struct Case {
  const char* name;
  std::function<bool()> run;
};

const Case kCases[] = {
    {"available", [] { return why_unavailable().empty(); }},
    {"no_device",
     [] {
       mock::runtime.devices.clear();
       return raised(why_unavailable());
     }},
    {"old_driver",
     [] {
       mock::runtime.start = cudaErrorInsufficientDriver;
       return raised(why_unavailable());
     }},
    {"old_device",
     [] {
       mock::runtime.devices = {mock::kH200, {7, 5, 40, 64 * 1024, 65536, 4 << 20, true}};
       return raised(why_unavailable());
     }},
    {"properties",
     [] {
       mock::runtime.devices = {mock::kH200, mock::kA100};
       const Device first = device_properties(0), second = device_properties(1);
       return first.sms == 132 && first.major == 9 && first.cooperative && second.sms == 108 &&
              second.shared_per_block == 163 * 1024 && second.l2_bytes == 40 << 20;
     }},
    {"properties_are_asked_again_until_there_is_a_driver",
     [] {
       mock::runtime.start = cudaErrorInsufficientDriver;
       const bool none = device_properties(0).sms == 0;
       mock::runtime.start = cudaSuccess;
       return none && device_properties(0).sms == 132;
     }},
    {"an_argument_arrives_as_the_kernel_has_it",
     [] {
       mock::runtime.on_launch = note;
       const LaunchShape shape{dim3(1), dim3(32), 0, false, 0};
       return launch("look", look, shape, nullptr, 7) == cudaSuccess && seen == 7;  // an int, widened
     }},
    {"cluster_engine",
     [] {
       run_pass(256, 1);  // 16 blocks, more than a cluster has without being asked
       return launched(1, address<1>(), false, 16) && mock::runtime.functions[address<1>()].any_cluster;
     }},
    {"small_cluster_needs_no_attribute",
     [] {
       run_pass(64);
       return launched(1, address<1>(), false, 4) && !mock::runtime.functions[address<1>()].any_cluster;
     }},
    {"persistent_engine",
     [] {
       mock::runtime.devices = {mock::kA100};
       run_pass(256);  // weights of 64 KiB a block, more than one has without being asked
       const mock::Launched& call = mock::runtime.launched.at(1);
       return launched(1, address<0>(), true, 0) && call.shared > 64 * 1024 && call.grid.x == 16;
     }},
    {"step_engine",
     [] {
       mock::runtime.devices = {{8, 0, 4, 163 * 1024, 65536, 40 << 20, true}};
       run_pass(1024);  // 64 blocks, and 4 run at once
       return launched(kSteps, address<0>(), false, 0);
     }},
    {"without_cooperative_launches",
     [] {
       mock::runtime.devices = {{8, 0, 108, 163 * 1024, 65536, 40 << 20, false}};
       run_pass(128);
       return launched(kSteps, address<0>(), false, 0);
     }},
    {"a_refused_question_leaves_no_error",
     [] {
       return blocks_per_sm<kernel<0>>(kBlockThreads, 228 * 1024) == 0 &&
              clusters_at_once<kernel<1>>(kBlockThreads, 0, 32) == 0 && cudaGetLastError() == cudaSuccess;
     }},
    {"too_much_shared_memory",
     [] {
       const LaunchShape shape{dim3(1), dim3(32), 228 * 1024, false, 0};
       check_cuda(launch("look", look, shape, nullptr, 0), "launching a look");
       return true;
     }},
    {"too_many_threads",
     [] {
       const LaunchShape shape{dim3(1), dim3(2048), 0, false, 0};
       check_cuda(launch("look", look, shape, nullptr, 0), "launching a look");
       return true;
     }},
    {"not_resident",
     [] {
       const LaunchShape shape{dim3(133), dim3(32), 0, true, 0};
       check_cuda(launch("look", look, shape, nullptr, 0), "launching a look");
       return true;
     }},
    {"a_failed_launch_leaves_no_error",
     [] {
       const LaunchShape large{dim3(1), dim3(2048), 0, false, 0}, right{dim3(1), dim3(32), 0, false, 0};
       const std::string words =
           words_of([&] { check_cuda(launch("look", look, large, nullptr, 0), "launching a look"); });
       return !words.empty() && cudaGetLastError() == cudaSuccess &&
              launch("look", look, right, nullptr, 0) == cudaSuccess;
     }},
    {"a_fault_of_the_device",
     [] {
       run_pass(64);
       mock::runtime.sticky = cudaErrorIllegalAddress;
       const std::string first = words_of([] { run_pass(64); });
       return first == words_of([] { run_pass(64); }) && raised(first);  // at each call from then on
     }},
};

}  // namespace
}  // namespace pyrnn::recurrent::cuda

int main(int, char** arguments) {
  for (const auto& the : pyrnn::recurrent::cuda::kCases) {
    if (strcmp(the.name, arguments[1]) != 0) continue;
    try {
      puts(the.run() ? "ok" : "wrong");
    } catch (const std::exception& error) {
      puts(error.what());
    }
    return 0;
  }
  puts("there is no such case");
  return 1;
}
