#include "common/workspace.h"

#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>
#ifdef _OPENMP
#  include <omp.h>
#endif
#ifdef __linux__
#  include <sys/mman.h>
#endif

namespace pyrnn {

char* workspace(size_t bytes) {
  struct Free {
    void operator()(char* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  thread_local std::unique_ptr<char, Free> block;
  thread_local size_t size = 0;
  if (bytes > size) {
    block.reset();
    size = 0;
    block.reset(static_cast<char*>(::operator new(bytes, std::align_val_t(64))));
    size = bytes;
  }
  return block.get();
}

void advise_huge_pages(char* data, size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kPage = uintptr_t(1) << 21;  // other sizes of page are rounded by the system
  const uintptr_t begin = (uintptr_t(data) + kPage - 1) & ~(kPage - 1),
                  end = (uintptr_t(data) + bytes) & ~(kPage - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // advice: may fail
#endif
}

namespace {

// Threads take the tasks in turn. What a task throws must not leave its thread: the tasks that are left are
// not begun, and the first exception is kept.
class Tasks {
 public:
  Tasks(int64_t tasks, const std::function<void(int64_t, int)>& task) : count(tasks), run(task) {}

  void work(int thread) {
    try {
      for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) run(task, thread);
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      if (!failed.exchange(true)) exception = std::current_exception();
    }
  }
  // After all threads.
  void finish() const {
    if (exception) std::rethrow_exception(exception);
  }

 private:
  const int64_t count;
  const std::function<void(int64_t, int)>& run;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr exception;
};

}  // namespace

void for_tasks(int64_t tasks, int threads, const std::function<void(int64_t, int)>& run) {
  Tasks shared(tasks, run);
  if (tasks < threads) threads = int(tasks);
#ifdef _OPENMP
  if (threads > 1) {  // never a parallel region for one: safe after fork
#  pragma omp parallel num_threads(threads)
    shared.work(omp_get_thread_num());
    return shared.finish();
  }
#endif
  shared.work(0);
  shared.finish();
}

void for_long_tasks(int64_t tasks, int threads, const std::function<void(int64_t, int)>& run) {
  Tasks shared(tasks, run);
  std::vector<std::thread> others;
  if (threads > 1) others.reserve(size_t(threads));
  try {
    for (int thread = 1; thread < threads && thread < tasks; thread++)
      others.emplace_back([&shared, thread] { shared.work(thread); });
  } catch (const std::system_error&) {  // the system has no more threads: those that run do the rest
  }
  shared.work(0);
  for (std::thread& other : others) other.join();
  shared.finish();
}

}  // namespace pyrnn
