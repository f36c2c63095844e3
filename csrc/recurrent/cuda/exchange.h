// How the blocks of one direction and slice hand on their parts of a step's vector, and how they wait for
// each other.
//
// There are two buffers: step s reads number s % 2 and writes the other, so one barrier a step is enough. The
// barrier is split into `arrive` and `wait`: all that a block has put before the one is visible to all
// after the other.
//
//   GridExchange      buffers in global memory, which the second-level cache holds; blocks count
//                     arrivals. Any number of blocks, all of them running: the launch is cooperative.
//   ClusterExchange   each block keeps its own part in shared memory, where the others read it. The
//                     blocks are one thread-block cluster, and its hardware barrier is the one.
#pragma once
#include "common/cuda/grid_barrier.h"
#include "common/cuda/shared_memory.h"
#include "recurrent/cuda/recurrence.h"

namespace pyrnn::recurrent::cuda {

template <class Product, int kTerms>
class GridExchange {
 public:
  using Element = typename Product::Element;

  static __host__ __device__ constexpr size_t shared_bytes(int64_t) { return 0; }

  __device__ GridExchange(const Recurrence& recurrence, SharedAllocator&)
      : w(recurrence),
        size(recurrence.k_slot * kTerms * recurrence.rows),
        buffers((Element*)recurrence.exchange + (blockIdx.z * recurrence.slices + blockIdx.y) * 2 * size),
        arrivals(recurrence.arrivals + blockIdx.z * recurrence.slices + blockIdx.y) {}

  __device__ void open(int64_t) {}
  __device__ void close(int64_t) {}
  __device__ void select_buffers(int64_t s) {
    from = buffers + s % 2 * size, to = buffers + (s + 1) % 2 * size;
  }

  // Numbers from term k of batch row `row` on, as many as a Word has.
  template <class Word>
  __device__ __forceinline__ Word load(int64_t k, int64_t row) const {
    return __ldcg((const Word*)(from + Product::exchange_index(k, row, w.rows)));
  }
  __device__ Element own(int term, int64_t unit, int64_t row) const {
    return from[index(term, unit, row)];  // the same thread has put it there
  }
  __device__ void put(int term, int64_t unit, int64_t row, Element x) const {
    to[index(term, unit, row)] = x;
  }

  // The end of a launch is a barrier, too.
  __device__ void arrive() const {
    if (w.grid_sync)
      pyrnn::arrive(arrivals);
    else
      __syncthreads();
  }
  __device__ void wait(int64_t s) const { pyrnn::wait(arrivals, unsigned(s) * gridDim.x); }

 private:
  const Recurrence& w;
  const int64_t size;
  Element *const buffers, *from, *to;
  unsigned* const arrivals;

  __device__ int64_t index(int term, int64_t unit, int64_t row) const {
    return Product::exchange_index(term * w.k_slot + unit, row, w.rows);
  }
};

template <class Product, int kTerms>
class ClusterExchange {
 public:
  using Element = typename Product::Element;

  static __host__ __device__ constexpr size_t shared_bytes(int64_t rows) {
    return tile_bytes<Element>(size_t(2 * kTerms * kUnits * rows));
  }

  __device__ ClusterExchange(const Recurrence& recurrence, SharedAllocator& allocator)
      : w(recurrence),
        size(kTerms * kUnits * recurrence.rows),
        buffers(allocator.take<Element>(size_t(2 * size))) {}

  // Between launches the vector lies in global memory, where it is prepared too.
  __device__ void open(int64_t s0) {
    for_own_part([&](int64_t here, int64_t there) {
      buffers[s0 % 2 * size + here] = there < 0 ? Element(0) : global(s0)[there];
      buffers[(s0 + 1) % 2 * size + here] = Element(0);
    });
    arrive();
    ptx::cluster_wait_acquire();
  }
  // Nobody ends while others read its part.
  __device__ void close(int64_t s1) {
    ptx::cluster_wait_acquire();
    for_own_part([&](int64_t here, int64_t there) {
      if (there >= 0) global(s1)[there] = buffers[s1 % 2 * size + here];
    });
  }
  __device__ void select_buffers(int64_t s) {
    from = buffers + s % 2 * size, to = buffers + (s + 1) % 2 * size;
  }

  template <class Word>
  __device__ __forceinline__ Word load(int64_t k, int64_t row) const {
    const unsigned slot = unsigned(w.k_slot), term = kTerms == 1 ? 0 : unsigned(k) / slot;
    const unsigned unit = unsigned(k) - term * slot;
    const Element* there = from + index(int(term), unit % kUnits, row);
    return *(const Word*)ptx::map_shared_rank(there, unit / kUnits);
  }
  __device__ Element own(int term, int64_t unit, int64_t row) const {
    return from[index(term, unit % kUnits, row)];
  }
  __device__ void put(int term, int64_t unit, int64_t row, Element x) const {
    to[index(term, unit % kUnits, row)] = x;
  }

  __device__ void arrive() const { ptx::cluster_arrive_release(); }
  __device__ void wait(int64_t) const { ptx::cluster_wait_acquire(); }

 private:
  const Recurrence& w;
  const int64_t size;
  Element *const buffers, *from, *to;

  // As in global memory, for a vector that has no more units than a block.
  __device__ int64_t index(int term, int64_t local_unit, int64_t row) const {
    return Product::template local_index<kUnits>(term * kUnits + local_unit, row, w.rows);
  }
  __device__ Element* global(int64_t s) const {
    return (Element*)w.exchange +
           ((blockIdx.z * w.slices + blockIdx.y) * 2 + s % 2) * w.k_slot * kTerms * w.rows;
  }
  // Calls with the index of each number in this block's part, and in the whole; -1 for padding.
  template <class Visit>
  __device__ void for_own_part(Visit visit) const {
    for (int64_t i = threadIdx.x; i < size; i += kBlockThreads) {
      const int64_t row = i % w.rows, local = i / w.rows, term = local / kUnits;
      const int64_t unit = int64_t(blockIdx.x) * kUnits + local % kUnits;
      visit(index(int(term), local % kUnits, row),
            unit < w.k_slot ? Product::exchange_index(term * w.k_slot + unit, row, w.rows) : -1);
    }
  }
};

}  // namespace pyrnn::recurrent::cuda
