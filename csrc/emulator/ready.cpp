#include "emulator/ready.h"

#include <algorithm>

namespace pyrnn {
namespace emulator {

void ReadyQueue::start(Schedule schedule, uint64_t seed) {
  schedule_ = schedule;
  random_ = Random(seed);
  entries_.clear();
  first_ = number_ = 0;
  lowest_ = uint64_t(1) << 63;
}

void ReadyQueue::push(Thread* thread, uint64_t priority) {
  entries_.push_back({priority, number_++, thread});
  if (schedule_ == Schedule::one_ahead) std::push_heap(entries_.begin(), entries_.end());
}

Thread* ReadyQueue::pop() {
  if (empty()) return nullptr;
  switch (schedule_) {
    case Schedule::in_order: {
      Thread* thread = entries_[first_++].thread;
      if (2 * first_ >= entries_.size()) {
        entries_.erase(entries_.begin(), entries_.begin() + ptrdiff_t(first_));
        first_ = 0;
      }
      return thread;
    }
    case Schedule::random:
      std::swap(entries_[random_.below(entries_.size())], entries_.back());
      break;
    case Schedule::one_ahead:
      std::pop_heap(entries_.begin(), entries_.end());
      break;
    case Schedule::reverse:
      break;
  }
  Thread* thread = entries_.back().thread;
  entries_.pop_back();
  return thread;
}

}  // namespace emulator
}  // namespace pyrnn
