#include "embedding/cpu/nearest_engine.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

#include "common/dispatch.h"
#include "common/workspace.h"

namespace pyrnn::embedding {
namespace {

// Of a block of rows: they stay in the cache while one panel of queries after another passes over them.
constexpr int64_t kBlockBytes = 1 << 18, kMostRows = 512;

bool is_better(const NearestHit& a, const NearestHit& b) {
  return a.score > b.score || (a.score == b.score && a.number < b.number);
}

// What a thread has found.
struct Found {
  std::vector<std::vector<NearestHit>> best;  // of each query a heap, the worst at its top
  std::vector<float> bounds;                  // a score must be above it
  std::vector<NearestHit> hits;

  Found(const NearestProblem& p, int64_t rows)
      : best(size_t(p.Q)),
        bounds(size_t((p.Q + kNearestBounds - 1) / kNearestBounds * kNearestBounds),
               std::numeric_limits<float>::infinity()),
        hits(size_t(rows * p.Q)) {
    std::fill(bounds.begin(), bounds.begin() + p.Q, -std::numeric_limits<float>::infinity());
  }

  void offer(const NearestHit& hit, int64_t k) {
    std::vector<NearestHit>& heap = best[size_t(hit.query)];
    float& bound = bounds[size_t(hit.query)];
    // The bound has risen since the block was begun.
    if (!(hit.score > bound)) return;
    if (int64_t(heap.size()) == k) std::pop_heap(heap.begin(), heap.end(), is_better), heap.pop_back();
    heap.push_back(hit);
    std::push_heap(heap.begin(), heap.end(), is_better);
    if (int64_t(heap.size()) == k) bound = heap.front().score;
  }
};

}  // namespace

void nearest(const NearestProblem& p, int threads) {
  if (p.N < 1 || p.D < 1 || p.Q < 0 || p.k < 1 || p.k > p.N)
    throw std::invalid_argument("pyrnn: sizes of a search for neighbours that do not fit together");
  if (p.Q == 0) return;
  const Kernels& kernels = *pyrnn::kernels(kFloat32).embedding;
  const int64_t row_bytes = p.D * int64_t(sizeof(float));
  const int64_t rows = std::clamp<int64_t>(kBlockBytes / row_bytes, 1, kMostRows);
  float* panels = reinterpret_cast<float*>(workspace(size_t(kernels.nearest_panels(p)) * sizeof(float)));
  kernels.nearest_pack(p, panels);
  threads = std::max(threads, 1);
  std::vector<std::vector<Found>> found(static_cast<size_t>(threads));  // of a thread none or one
  for_tasks((p.N + rows - 1) / rows, threads, [&](int64_t task, int thread) {
    std::vector<Found>& own = found[size_t(thread)];
    if (own.empty()) own.emplace_back(p, rows);
    const int64_t begin = task * rows, end = std::min(begin + rows, p.N);
    Found& mine = own.front();
    const int64_t count = kernels.nearest(p, panels, mine.bounds.data(), begin, end, mine.hits.data());
    for (int64_t i = 0; i < count; i++) mine.offer(mine.hits[size_t(i)], p.k);
  });
  for_tasks(p.Q, threads, [&](int64_t query, int) {
    std::vector<NearestHit> all;
    for (const std::vector<Found>& of_thread : found)
      for (const Found& each : of_thread)
        all.insert(all.end(), each.best[size_t(query)].begin(), each.best[size_t(query)].end());
    const int64_t count = std::min(p.k, int64_t(all.size()));
    std::partial_sort(all.begin(), all.begin() + count, all.end(), is_better);
    for (int64_t i = 0; i < p.k; i++) {
      const bool there = i < count;
      p.scores[query * p.k + i] = there ? all[size_t(i)].score : -std::numeric_limits<float>::infinity();
      p.numbers[query * p.k + i] = there ? all[size_t(i)].number : 0;
    }
  });
}

}  // namespace pyrnn::embedding
