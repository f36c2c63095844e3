// The search without Python, for the sanitizers: every instruction set of this machine, queries in place and
// packed, in heap blocks of the exact size, held against a plain loop over all rows.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "common/dispatch.h"
#include "embedding/cpu/nearest_engine.h"

namespace {

using Floats = std::vector<float>;
int failures = 0, cases = 0;

void check(int64_t N, int64_t D, int64_t Q, int64_t k, bool multiplied, int threads, std::mt19937& random) {
  cases++;
  const int64_t parts = multiplied ? 3 : 1;
  Floats queries(size_t(parts * Q * D)), matrix(size_t(N * D)), inverse(size_t(N), 0.125f);
  for (Floats* numbers : {&queries, &matrix})
    for (float& x : *numbers) x = float(int(random() % 5)) - 2;
  Floats scores(size_t(Q * k));
  std::vector<int64_t> numbers(size_t(Q * k));
  pyrnn::embedding::nearest({N, D, Q, k, multiplied, 0.001, queries.data(), matrix.data(), inverse.data(),
                             scores.data(), numbers.data()},
                            threads);
  const auto cosine = [&](int64_t query, int64_t row) {
    float sum = 0;  // exact
    for (int64_t d = 0; d < D; d++) sum += queries[size_t(query * D + d)] * matrix[size_t(row * D + d)];
    return sum * 0.125f;
  };
  for (int64_t q = 0; q < Q; q++) {
    std::vector<std::pair<float, int64_t>> all;  // negative scores, so that the best stand first
    for (int64_t n = 0; n < N; n++) {
      float score = cosine(q, n);
      if (multiplied)
        score = (cosine(Q + q, n) + 1) / 2 * ((cosine(2 * Q + q, n) + 1) / 2) / ((score + 1) / 2 + 0.001f);
      all.emplace_back(-score, n);
    }
    std::sort(all.begin(), all.end());
    for (int64_t i = 0; i < k; i++) {
      const auto [negative, row] = all[size_t(i)];
      const float found = scores[size_t(q * k + i)];
      // A quotient may round otherwise, and then equal ones may not stay equal.
      const bool right = multiplied ? std::fabs(found + negative) <= 1e-5f * std::fabs(negative)
                                    : found == -negative && numbers[size_t(q * k + i)] == row;
      if (right) continue;
      failures++;
      std::printf("%s N%ld D%ld Q%ld k%ld multiplied %d threads %d: place %ld of query %ld\n",
                  pyrnn::isa().c_str(), long(N), long(D), long(Q), long(k), multiplied, threads, long(i),
                  long(q));
    }
  }
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (const std::string& isa : pyrnn::isas()) {
    pyrnn::set_isa(isa);
    for (bool multiplied : {false, true})
      for (int threads : {1, 3})
        for (int64_t D : {1, 7, 33})
          for (int64_t Q : {0, 1, 4, 9, 35}) {
            check(1, D, Q, 1, multiplied, threads, random);
            check(19, D, Q, 19, multiplied, threads, random);
            check(1200, D, Q, 6, multiplied, threads, random);
          }
  }
  std::printf("%d cases, %d failed\n", cases, failures);
  return failures != 0;
}
