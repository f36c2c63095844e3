#include "embedding/cpu/word2vec_engine.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "common/dispatch.h"
#include "common/workspace.h"

namespace pyrnn::embedding {
namespace {

// Where task t begins: with a sentence, or in the middle of one that is longer than a task.
int64_t task_begin(const Word2VecProblem& p, int64_t t) {
  const int64_t first = std::min(t * kTask, p.count), end = std::min(first + kTask, p.count);
  for (int64_t i = first; i < end; i++)
    if (i == 0 || p.ids[i - 1] == p.V) return i;
  return first;
}

template <class T>
T* take(char*& memory, int64_t count) {
  T* taken = reinterpret_cast<T*>(memory);
  memory += (count * int64_t(sizeof(T)) + 63) / 64 * 64;
  return taken;
}

Word2VecScratch scratch_of(const Word2VecProblem& p, char*& memory) {
  Word2VecScratch s;
  s.sentence = take<int32_t>(memory, 2 * kTask);
  s.rows = take<int32_t>(memory, kAhead * rows_size(p));
  s.targets = take<int32_t>(memory, kAhead * p.most_targets);
  s.signs = take<float>(memory, kAhead * signs_size(p));
  s.scores = take<float>(memory, signs_size(p));
  s.vectors = take<float>(memory, 2 * p.S);
  return s;
}

void check(const Word2VecProblem& p) {
  if (p.V < 1 || p.S < 1 || p.S % kRowUnit || p.count < 0 || p.window < 1 || p.negatives < 0 ||
      p.most_rows < 1 || p.most_targets < 1 || p.most_targets > kMostTargets ||
      (p.noise && p.negatives >= p.most_targets))
    throw std::invalid_argument("pyrnn: sizes of word vectors that do not fit together");
  for (int64_t i = 0; i < p.count; i++)
    if (p.ids[i] < 0 || p.ids[i] > p.V)
      throw std::invalid_argument("pyrnn: ids must lie in [0, " + std::to_string(p.V) + "], got " +
                                  std::to_string(p.ids[i]));
}

}  // namespace

Word2VecSums word2vec(const Word2VecProblem& p, int threads) {
  check(p);
  const auto run = pyrnn::kernels(kFloat32).embedding->word2vec;
  const int64_t tasks = (p.count + kTask - 1) / kTask;
  // The rows of the most frequent words share the cache with those that come and go.
  const int64_t fetched = l2_bytes() / 2 / (2 * p.S * int64_t(sizeof(float)));
  std::vector<Word2VecSums> found(size_t(tasks), Word2VecSums{0, 0, 0});
  for_long_tasks(tasks, threads, [&](int64_t task, int) {
    char* none = nullptr;
    scratch_of(p, none);
    char* memory = workspace(size_t(none - static_cast<char*>(nullptr)));
    const Word2VecScratch scratch = scratch_of(p, memory);
    found[size_t(task)] =
        run(p, scratch, task_begin(p, task), task_begin(p, task + 1), p.position + task * kTask, fetched);
  });
  Word2VecSums sums = {0, 0, 0};
  for (const Word2VecSums& own : found)
    sums.loss += own.loss, sums.predictions += own.predictions, sums.words += own.words;
  return sums;
}

}  // namespace pyrnn::embedding
