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

// run(task, thread) for each task in [0, tasks), on at most `threads` threads, in any order.
void for_tasks(int64_t tasks, int threads, const std::function<void(int64_t task, int thread)>& run);

}  // namespace pyrnn
