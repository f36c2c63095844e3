// Memory and threads of one call.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <functional>

namespace pyrnn {

// Memory of the calling thread, 64-byte aligned, kept from call to call: fresh pages are slow.
char* workspace(size_t bytes);

// Asks for the pages of memory that nobody has written yet to be large ones, where the system has them.
void advise_huge_pages(char* data, size_t bytes);

// run(task, thread) for each task in [0, tasks), on at most `threads` threads, in any order; each thread
// takes its tasks in ascending order. When one throws, the tasks that nobody has begun are left out, and the
// first exception is thrown again.
void for_tasks(int64_t tasks, int threads, const std::function<void(int64_t task, int thread)>& run);

// The same for work of milliseconds, on threads of its own that end with it. Those of OpenMP spin for
// milliseconds before and after a parallel region, which takes the cores from whoever is still at work when
// other processes run on them, too.
void for_long_tasks(int64_t tasks, int threads, const std::function<void(int64_t task, int thread)>& run);

}  // namespace pyrnn
