#include "common/workspace.h"

#include <atomic>
#include <memory>
#include <new>
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

void for_tasks(int64_t tasks, int threads, const std::function<void(int64_t, int)>& run) {
  std::atomic<int64_t> next{0};
  const auto work = [&](int thread) {
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) run(task, thread);
  };
  if (tasks < threads) threads = int(tasks);
#ifdef _OPENMP
  if (threads > 1) {  // never a parallel region for one: safe after fork
#  pragma omp parallel num_threads(threads)
    work(omp_get_thread_num());
    return;
  }
#endif
  work(0);
}

}  // namespace pyrnn
