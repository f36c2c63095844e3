// Which ready thread goes on: the schedules.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace pyrnn {
namespace emulator {

struct Thread;

// splitmix64 (Steele, Lea, Flood 2014): a seed is a whole schedule, so the generator must be ours.
class Random {
 public:
  explicit Random(uint64_t seed = 0) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint64_t below(uint64_t n) { return next() % n; }

 private:
  uint64_t state_;
};

enum class Schedule {
  in_order,   // who became ready first
  reverse,    // who became ready last: the last block runs as far as it can, then the one before
  random,     // anyone
  one_ahead,  // by a priority drawn for each warp: one runs as far as it can
};

class ReadyQueue {
 public:
  void start(Schedule schedule, uint64_t seed);
  void push(Thread* thread, uint64_t priority);
  Thread* pop();  // null: nobody is ready
  bool empty() const { return first_ == entries_.size(); }
  Schedule schedule() const { return schedule_; }
  Random& random() { return random_; }
  // Behind every thread that has not stepped back since: who polls must not starve the one it waits for.
  uint64_t lowest_priority() { return ++lowest_; }

 private:
  struct Entry {
    uint64_t priority, number;
    Thread* thread;
    bool operator<(const Entry& other) const {  // the top of a heap is the largest: lowest number first
      return priority != other.priority ? priority > other.priority : number > other.number;
    }
  };
  Schedule schedule_ = Schedule::in_order;
  Random random_;
  std::vector<Entry> entries_;
  size_t first_ = 0;  // in order: entries before it are gone
  uint64_t number_ = 0, lowest_ = 0;
};

}  // namespace emulator
}  // namespace pyrnn
