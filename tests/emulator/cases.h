// A program of named cases: runs each, and prints its name and "ok", "wrong" or the words of the exception.
#pragma once
#include <stdio.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "common/cuda/ptx.h"
#include "common/cuda/shared_memory.h"

struct Case {
  const char* name;
  std::function<bool()> run;  // whether the results are right
};

inline pyrnn::LaunchShape blocks_of(unsigned blocks, unsigned threads, size_t shared = 0) {
  return {dim3(blocks), dim3(threads), shared, false, 0};
}

inline pyrnn::LaunchShape cooperative(unsigned blocks, unsigned threads) {
  return {dim3(blocks), dim3(threads), 0, true, 0};
}

inline pyrnn::LaunchShape clusters_of(int cluster, unsigned blocks, unsigned threads) {
  return {dim3(blocks), dim3(threads), 0, false, cluster};
}

// Runs the kernel; true unless it throws.
template <class... P, class... A>
bool runs(void (*kernel)(P...), const pyrnn::LaunchShape& shape, A&&... arguments) {
  return pyrnn::launch("case", kernel, shape, cudaStream_t(nullptr), std::forward<A>(arguments)...) ==
         cudaSuccess;
}

// A case stands for all schedules: the first one that is not right decides.
inline std::string outcome(const Case& the) {
  for (uint64_t seed = 0; seed < 8; seed++) {
    pyrnn_emulate_seed(seed);
    try {
      if (!the.run()) return "wrong";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }
  return "ok";
}

// All of them, or those that are named.
inline int run_cases(const std::vector<Case>& cases, const std::vector<std::string>& names = {}) {
  for (const Case& the : cases) {
    if (!names.empty() && std::find(names.begin(), names.end(), the.name) == names.end()) continue;
    std::string line = outcome(the);
    for (char& c : line)
      if (c == '\n') c = ' ';
    printf("%s: %s\n", the.name, line.c_str());
  }
  return 0;
}
