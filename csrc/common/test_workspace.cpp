// Tasks on threads: each is done once, and what one throws comes out, whichever thread it was on.
#include <atomic>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/workspace.h"

namespace {

int failures = 0;

void expect(bool condition, const char* what, int threads) {
  if (condition) return;
  failures++;
  std::printf("%d threads: %s\n", threads, what);
}

template <class ForTasks>
void check(ForTasks for_tasks, int threads) {
  for (int64_t tasks : {0, 1, 2, 100}) {
    std::vector<std::atomic<int>> done(static_cast<size_t>(tasks));
    for_tasks(tasks, threads, [&](int64_t task, int thread) {
      expect(0 <= thread && thread < threads, "a thread that is none", threads);
      done[size_t(task)]++;
    });
    for (const std::atomic<int>& count : done) expect(count == 1, "a task that was not done once", threads);
  }
  std::atomic<int> begun{0};
  try {
    for_tasks(1 << 20, threads, [&](int64_t task, int) {
      begun++;
      if (task == 7) throw std::invalid_argument("seven");
    });
    expect(false, "no exception", threads);
  } catch (const std::invalid_argument& error) {
    expect(std::string(error.what()) == "seven", "another exception", threads);
    expect(begun < 1 << 20, "all tasks were begun nevertheless", threads);
  }
  try {  // in all threads at once
    for_tasks(100, threads, [&](int64_t, int) { throw std::bad_alloc(); });
    expect(false, "no exception", threads);
  } catch (const std::bad_alloc&) {
  }
}

}  // namespace

int main() {
  for (int threads : {1, 2, 5}) {
    check(pyrnn::for_tasks, threads);
    check(pyrnn::for_long_tasks, threads);
  }
  std::printf("%d failed\n", failures);
  return failures != 0;
}
