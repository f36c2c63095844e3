// Counting and GloVe's kernels without Python, for the sanitizers: texts that spill, every instruction set of
// this machine over awkward sizes, in heap blocks of the exact size, against the definitions.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "common/dispatch.h"
#include "embedding/cooccurrence.h"
#include "embedding/cpu/glove_engine.h"
#include "embedding/random.h"

namespace {

using namespace pyrnn::embedding;
using Counts = std::map<std::pair<int32_t, int32_t>, double>;
int failures = 0, cases = 0;

void expect(bool condition, const std::string& what) {
  if (condition) return;
  failures++;
  std::printf("%s: %s\n", pyrnn::isa().c_str(), what.c_str());
}

// ---- counts

Counts counted(const std::vector<int32_t>& text, int64_t V, int64_t window, bool symmetric, int64_t bytes) {
  std::FILE* file = std::tmpfile();
  Counts found;
  {
    CooccurrenceCounter counter(V, window, symmetric, true, bytes, fileno(file));
    for (size_t begin = 0; begin < text.size(); begin += 777)
      counter.add(text.data() + begin, int64_t(std::min<size_t>(777, text.size() - begin)));
    counter.finish();
    std::vector<Pair> pairs(101);
    while (const int64_t count = counter.take(pairs.data(), int64_t(pairs.size())))
      for (int64_t n = 0; n < count; n++) {
        const Pair& pair = pairs[size_t(n)];
        expect(!found.count({pair.row, pair.column}), "a pair comes twice");
        found[{pair.row, pair.column}] = pair.count;
      }
  }
  std::fclose(file);
  return found;
}

void check_counts(int64_t V, int64_t window, bool symmetric, std::mt19937& random) {
  cases++;
  std::vector<int32_t> text(20000);
  for (int32_t& id : text)
    id = int32_t(std::min<double>(double(V), std::pow(double(V + 1), random() / 4294967296.0) - 1));
  std::map<std::pair<int32_t, int32_t>, double> expected;
  for (size_t t = 0; t < text.size(); t++)
    for (size_t n = 1; n <= size_t(window) && n <= t && text[t] != V && text[t - n] != V; n++) {
      expected[{text[t], text[t - n]}] += 1.0 / double(n);
      if (symmetric) expected[{text[t - n], text[t]}] += 1.0 / double(n);
    }
  const Counts small = counted(text, V, window, symmetric, 1 << 16),
               large = counted(text, V, window, symmetric, 1 << 24);
  expect(small == large, "counts depend on the memory");
  expect(small.size() == expected.size(), "other pairs than there are");
  for (const auto& [pair, count] : expected) {
    const auto found = small.find(pair);
    expect(found != small.end() && std::abs(found->second - count) < 1e-9 * count, "another count");
  }
}

// ---- steps

void check_steps(int64_t V, int64_t S, std::mt19937& random) {
  cases++;
  std::normal_distribution<float> normal;
  std::vector<float> rows(size_t(4 * V * S), 1.0f);
  for (int64_t row = 0; row < 2 * V; row++)
    for (int64_t d = 0; d < S; d++) rows[size_t(2 * row * S + d)] = normal(random) / 4;
  std::vector<double> expected(rows.begin(), rows.end());
  const Pair pair{int32_t(V - 1), int32_t(V / 2), 7};
  double *w = &expected[size_t(2 * pair.row * S)], *c = &expected[size_t(2 * (V + pair.column) * S)];
  double error = w[S - 1] + c[S - 1] - std::log(7.0);
  for (int64_t d = 0; d < S - 1; d++) error += w[d] * c[d];
  const double slope = std::pow(0.07, 0.75) * error;
  for (int64_t d = 0; d < S; d++) {
    const double g_w = slope * (d < S - 1 ? c[d] : 1), g_c = slope * (d < S - 1 ? w[d] : 1);
    w[S + d] += g_w * g_w, c[S + d] += g_c * g_c;
    w[d] -= 0.1 * g_w / std::sqrt(w[S + d]), c[d] -= 0.1 * g_c / std::sqrt(c[S + d]);
  }
  for (const int64_t updates : {0, 1}) {
    std::vector<Pair> pairs{pair};
    const double loss = glove({V, S, 1, updates, 3, 0.1, 100, 0.75, rows.data(), pairs.data()}, 1);
    expect(std::abs(loss - slope * error) < 1e-5 * (1 + loss), "another loss");
  }
  for (size_t i = 0; i < rows.size(); i++) expect(std::abs(rows[i] - expected[i]) < 1e-5, "another number");
}

void check_order(std::mt19937& random) {
  cases++;
  std::vector<int> items(1000);
  for (int i = 0; i < 1000; i++) items[size_t(i)] = i;
  const std::vector<int> sorted = items;
  shuffle(items.data(), 1000, random());
  expect(items != sorted, "an order that is none");
  std::sort(items.begin(), items.end());
  expect(items == sorted, "an item was lost");
  for (int i = 0; i < 1000; i++) {
    const uint64_t x = uint64_t(random()) << 32 | random();
    expect(unscramble(scramble(x)) == x, "scramble is no bijection");
  }
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (const bool symmetric : {true, false}) {
    check_counts(3, 1, symmetric, random);
    check_counts(2000, 5, symmetric, random);
  }
  check_order(random);
  for (const std::string& isa : pyrnn::isas()) {
    pyrnn::set_isa(isa);
    for (const int64_t S : {16, 32, 112}) check_steps(5, S, random);
  }
  std::printf("%d cases, %d failures\n", cases, failures);
  return failures != 0;
}
