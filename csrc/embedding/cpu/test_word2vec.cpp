// The kernels without Python, for the sanitizers: every instruction set of this machine, all modes, awkward
// sizes, in heap blocks of the exact size. Without anything drawn the result is held against the formulas;
// with noise and thinning it must be finite, and the same again.
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "common/dispatch.h"
#include "embedding/cpu/word2vec_engine.h"
#include "embedding/ngrams.h"

namespace {

using pyrnn::embedding::AliasColumn;
using pyrnn::embedding::Word2VecProblem;
using pyrnn::embedding::Word2VecSums;
using Floats = std::vector<float>;
int failures = 0, cases = 0;

void expect(bool condition, const char* what, const Word2VecProblem& p) {
  if (condition) return;
  failures++;
  std::printf("%s S%ld window %ld cbow %ld batched %ld: %s\n", pyrnn::isa().c_str(), long(p.S),
              long(p.window), long(p.cbow), long(p.batched), what);
}

// Words 0 to 6 with codes of 1 to 6 bits, each a path along the nodes 0, 1, ...
constexpr int64_t kWords = 7;
struct Tree {
  std::vector<int64_t> begin = {0};
  std::vector<int32_t> nodes;
  Floats signs;
  Tree() {
    for (int64_t word = 0; word < kWords; word++) {
      const int64_t length = std::min(word + 1, kWords - 1);
      for (int64_t n = 0; n < length; n++) {
        nodes.push_back(int32_t(n));
        signs.push_back(n + 1 < length || word + 1 == kWords ? -1.0f : 1.0f);
      }
      begin.push_back(int64_t(nodes.size()));
    }
  }
};

// Skip-gram with hierarchical softmax, prediction after prediction.
double plain(const Word2VecProblem& p, std::vector<double>& input, std::vector<double>& output) {
  double loss = 0;
  for (int64_t i = 0; i < p.count; i++) {
    const double rate = p.rate;
    for (int64_t j = std::max<int64_t>(i - p.window, 0); j <= std::min(i + p.window, p.count - 1); j++) {
      if (j == i) continue;
      double* x = &input[size_t(p.ids[j] * p.S)];
      std::vector<double> change(size_t(p.S), 0.0);
      for (int64_t t = p.path_begin[p.ids[i]]; t < p.path_begin[p.ids[i] + 1]; t++) {
        double* u = &output[size_t(p.path_nodes[t] * p.S)];
        double score = 0;
        for (int64_t d = 0; d < p.S; d++) score += x[d] * u[d];
        const double sign = double(p.path_signs[t]), slope = rate * sign / (1 + std::exp(sign * score));
        loss += std::log1p(std::exp(-sign * score));
        for (int64_t d = 0; d < p.S; d++) change[size_t(d)] += slope * u[d], u[d] += slope * x[d];
      }
      for (int64_t d = 0; d < p.S; d++) x[d] += change[size_t(d)];
    }
  }
  return loss;
}

void check(int64_t S, int64_t count, int64_t window, bool cbow, bool batched, bool noise, bool bags,
           std::mt19937& random) {
  cases++;
  const Tree tree;
  std::vector<int32_t> ids(static_cast<size_t>(count));
  const bool exact = !noise && !cbow && !batched && !bags;
  for (int32_t& id : ids) id = int32_t(random() % (exact ? kWords : kWords + 1));
  std::vector<uint32_t> keep(kWords, 0xf0000000u);
  std::vector<AliasColumn> table(kWords, AliasColumn{0x80000000u, 3});
  std::vector<int64_t> bag_begin = {0};
  std::vector<int32_t> bag_rows;
  for (int32_t word = 0; word < kWords; word++) {
    bag_rows.push_back(word);
    pyrnn::embedding::ngram_rows(std::string("w\xc3\xb6rd") + char('a' + word), 1, word, 5, kWords, bag_rows);
    bag_begin.push_back(int64_t(bag_rows.size()));
  }
  int64_t widest = 1;
  for (int64_t word = 0; word < kWords; word++)
    widest = std::max(widest, bag_begin[size_t(word + 1)] - bag_begin[size_t(word)]);
  Floats input(size_t((kWords + 5) * S)), output(size_t(kWords * S));
  std::normal_distribution<float> normal(0, 0.4f);
  for (float& x : input) x = normal(random);
  for (float& x : output) x = normal(random);
  Word2VecProblem p{};
  p.V = kWords, p.S = S, p.count = count, p.position = 1 << 20, p.epoch = 2, p.seed = 99;
  p.window = window, p.shrink = !exact, p.cbow = cbow, p.batched = batched, p.updates = 1;
  p.negatives = noise ? 11 : 0, p.most_targets = 12;
  p.most_rows = (cbow ? 2 * window : 1) * (bags ? widest : 1);
  p.rate = p.last_rate = 0.05;
  p.ids = ids.data();
  if (!exact) p.keep = keep.data();
  if (noise) p.noise = table.data();
  if (bags) p.bag_begin = bag_begin.data(), p.bag_rows = bag_rows.data();
  p.path_begin = tree.begin.data(), p.path_nodes = tree.nodes.data(), p.path_signs = tree.signs.data();
  const auto run = [&](Floats& in, Floats& out) {
    p.input = in.data(), p.output = out.data();
    return pyrnn::embedding::word2vec(p, 1);
  };
  Floats in = input, out = output, in_again = input, out_again = output;
  const Word2VecSums sums = run(in, out), again = run(in_again, out_again);
  expect(sums.loss == again.loss && in == in_again && out == out_again, "other bits again", p);
  expect(std::isfinite(sums.loss), "the loss", p);
  for (const Floats* matrix : {&in, &out})
    for (float x : *matrix) expect(std::isfinite(x), "a number that is none", p);
  if (!exact) return;
  std::vector<double> in_plain(input.begin(), input.end()), out_plain(output.begin(), output.end());
  const double loss = plain(p, in_plain, out_plain);
  expect(std::fabs(sums.loss - loss) <= 1e-5 * loss, "another loss", p);
  for (size_t i = 0; i < in.size(); i++) expect(std::fabs(in[i] - in_plain[i]) < 1e-5, "an input", p);
  for (size_t i = 0; i < out.size(); i++) expect(std::fabs(out[i] - out_plain[i]) < 1e-5, "an output", p);
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (const std::string& isa : pyrnn::isas()) {
    pyrnn::set_isa(isa);
    for (int64_t S : {16, 48, 112})
      for (int64_t count : {0, 1, 2, 37})
        for (int64_t window : {1, 3, 19})
          for (int mode = 0; mode < 16; mode++)
            check(S, count, window, mode & 1, mode & 2, mode & 4, mode & 8, random);
    check(16, 3 * pyrnn::embedding::kTask, 2, false, true, true, false, random);
  }
  std::printf("%d cases, %d failed\n", cases, failures);
  return failures != 0;
}
