#include "embedding/cpu/glove_engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/dispatch.h"
#include "common/workspace.h"
#include "embedding/random.h"
#include "embedding/word2vec.h"

namespace pyrnn::embedding {
namespace {

constexpr int64_t kPairs = 1 << 12;  // pairs that a thread takes at a time

void check(const GloveProblem& p) {
  if (p.V < 1 || p.V > INT32_MAX || p.S < 1 || p.S % kRowUnit || p.count < 0 || p.count > UINT32_MAX)
    throw std::invalid_argument("pyrnn: sizes of word vectors that do not fit together");
  if (!p.rows || (p.count && !p.pairs)) throw std::invalid_argument("pyrnn: word vectors without storage");
}

// log X and f(X) in the place of each X. Whether all of them are counts of pairs.
bool prepare(const GloveProblem& p, int64_t begin, int64_t end) {
  char* const bytes = static_cast<char*>(p.pairs);
  const double log_most = std::log(p.x_max);
  for (int64_t n = begin; n < end; n++) {
    Pair pair;
    std::memcpy(&pair, bytes + n * int64_t(sizeof(Pair)), sizeof(Pair));
    const bool sound = pair.row >= 0 && pair.row < p.V && pair.column >= 0 && pair.column < p.V &&
                       pair.count > 0 && std::isfinite(pair.count);
    if (!sound) return false;
    const double log_count = std::log(pair.count);
    const double weight = pair.count < p.x_max ? std::exp(p.alpha * (log_count - log_most)) : 1;
    const GlovePair ready{pair.row, pair.column, float(log_count), float(weight)};
    std::memcpy(bytes + n * int64_t(sizeof(Pair)), &ready, sizeof(ready));
  }
  return true;
}

}  // namespace

double glove(const GloveProblem& p, int threads) {
  check(p);
  const Kernels& kernels = *pyrnn::kernels(kFloat32).embedding;
  const auto run = p.updates ? kernels.glove_train : kernels.glove_loss;
  const int64_t tasks = (p.count + kPairs - 1) / kPairs;
  const auto begin = [](int64_t task) { return task * kPairs; };
  const auto end = [&](int64_t task) { return std::min((task + 1) * kPairs, p.count); };
  std::vector<char> sound(size_t(tasks), 0);
  for_long_tasks(tasks, threads,
                 [&](int64_t task, int) { sound[size_t(task)] = prepare(p, begin(task), end(task)); });
  if (std::count(sound.begin(), sound.end(), 0))
    throw std::invalid_argument(
        "a pair whose ids lie outside the vocabulary, or whose count is not positive");
  GlovePair* const pairs = static_cast<GlovePair*>(p.pairs);
  if (p.updates) shuffle(pairs, p.count, uint64_t(p.shuffle));
  std::vector<double> losses(size_t(tasks),
                             0.0);  // added in order: the loss has the same bits for any number of threads
  for_long_tasks(tasks, threads, [&](int64_t task, int) {
    const GlovePart part{
        p.V, p.S, end(task) - begin(task), float(p.learning_rate), p.rows, pairs + begin(task)};
    losses[size_t(task)] = run(part);
  });
  double loss = 0;
  for (const double of_task : losses) loss += of_task;
  return loss;
}

}  // namespace pyrnn::embedding
