// The kernels without Python, for the sanitizers: every instruction set of this machine and storage type over
// awkward sizes, in heap blocks of the exact size. Sums over paths are compared with a naive recursion in
// double, gradients with its central difference along a random direction, paths with their own score.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "common/dispatch.h"
#include "common/test_array.h"
#include "crf/cpu/engine.h"

namespace {

using pyrnn::Array;
using Numbers = std::vector<double>;
int failures = 0;

struct Case {
  int dtype, threads;
  int64_t T, B, C;
  bool lengths, ends;
};

// Emissions, transitions, start, end.
using Tensors = std::vector<Numbers>;

Numbers numbers(const Array& a) {
  Numbers v(size_t(a.size()));
  for (size_t i = 0; i < v.size(); i++) v[i] = a.get(int64_t(i));
  return v;
}

double log_sum_exp(const Numbers& x) {
  double peak = -INFINITY, sum = 0;
  for (double v : x) peak = std::max(peak, v);
  for (double v : x) sum += std::exp(v - peak);
  return peak + std::log(sum);
}

double log_z(const Case& c, const Tensors& in, int64_t b, int64_t length) {
  if (!length) return 0;
  Numbers state(size_t(c.C)), terms(size_t(c.C));
  for (int64_t t = 0; t < length; t++) {
    Numbers next(size_t(c.C));
    for (int64_t j = 0; j < c.C; j++) {
      for (int64_t i = 0; i < c.C; i++) terms[i] = state[i] + in[1][i * c.C + j];
      next[j] = (t ? log_sum_exp(terms) : c.ends ? in[2][j] : 0) + in[0][(t * c.B + b) * c.C + j];
    }
    state = next;
  }
  for (int64_t j = 0; j < c.C && c.ends; j++) state[j] += in[3][j];
  return log_sum_exp(state);
}

void expect(bool condition, const Case& c, const std::string& what) {
  if (condition) return;
  failures++;
  std::printf("FAILED %s: %s, dtype %d, threads %d, T %lld, B %lld, C %lld\n", what.c_str(),
              pyrnn::isa().c_str(), c.dtype, c.threads, (long long)c.T, (long long)c.B, (long long)c.C);
}

void run(const Case& c) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  const int sums = c.dtype == pyrnn::kFloat64 ? pyrnn::kFloat64 : pyrnn::kFloat32;
  const int64_t sizes[] = {c.T * c.B * c.C, c.C * c.C, c.C, c.C};
  std::vector<Array> given, gradients;
  Tensors in, direction;
  for (int64_t size : sizes) {
    Array a(size, c.dtype), d(size, c.dtype);
    direction.emplace_back();
    for (int64_t i = 0; i < size; i++)
      a.set(i, normal(random)), d.set(i, 0), direction.back().push_back(normal(random));
    in.push_back(numbers(a)), given.push_back(a), gradients.push_back(d);
  }
  std::vector<int64_t> length(size_t(c.B), c.T), tags(size_t(c.T * c.B));
  for (int64_t b = 0; b < c.B && c.lengths; b++) length[b] = (c.T + 2 * b) % (c.T + 1);
  Array z(c.B, sums), alpha(c.T * c.B * c.C, sums), g(c.B, sums), scores(c.B, sums);
  for (int64_t b = 0; b < c.B; b++) g.set(b, 1 + double(b % 3));

  pyrnn::crf::Problem p{};
  p.dtype = c.dtype, p.T = c.T, p.B = c.B, p.C = c.C;
  p.lengths = c.lengths ? length.data() : nullptr;
  p.emissions = given[0].bytes.data(), p.stride_t = c.B * c.C, p.stride_b = c.C;
  p.transitions = given[1].bytes.data();
  if (c.ends) p.start = given[2].bytes.data(), p.end = given[3].bytes.data();
  p.log_z = z.bytes.data();
  pyrnn::crf::forward(p, c.threads);
  const Numbers inference = numbers(z);
  p.alpha = alpha.bytes.data();
  pyrnn::crf::forward(p, c.threads);
  expect(numbers(z) == inference, c, "training's forward pass");
  p.g = g.bytes.data();
  p.d_emissions = gradients[0].bytes.data(), p.d_transitions = gradients[1].bytes.data();
  if (c.ends) p.d_start = gradients[2].bytes.data(), p.d_end = gradients[3].bytes.data();
  pyrnn::crf::backward(p, c.threads);
  p.tags = tags.data(), p.scores = scores.bytes.data();
  pyrnn::crf::viterbi(p, c.threads);

  const double eps = c.dtype == pyrnn::kFloat64 ? 1e-12 : 1e-5;
  double slope = 0, expected = 0, size = 0;
  const double h = 1e-5;
  Tensors up = in, down = in;
  for (size_t n = 0; n < in.size(); n++)
    for (size_t i = 0; i < in[n].size(); i++)
      up[n][i] += h * direction[n][i], down[n][i] -= h * direction[n][i];
  for (int64_t b = 0; b < c.B; b++) {
    const double exact = log_z(c, in, b, length[b]);
    expect(std::abs(z.get(b) - exact) <= eps * (1 + std::abs(exact)), c, "log Z");
    expected += g.get(b) * (log_z(c, up, b, length[b]) - log_z(c, down, b, length[b])) / (2 * h);
    double score = 0;
    for (int64_t t = 0; t < length[b]; t++) {
      const int64_t tag = tags[t * c.B + b];
      expect(tag >= 0 && tag < c.C, c, "a tag");
      score += in[0][(t * c.B + b) * c.C + tag];
      if (t) score += in[1][tags[(t - 1) * c.B + b] * c.C + tag];
      if (!t && c.ends) score += in[2][tag];
      if (t == length[b] - 1 && c.ends) score += in[3][tag];
    }
    expect(std::abs(score - scores.get(b)) <= eps * (1 + std::abs(score)), c, "the score of a path");
    expect(score <= exact + eps * (1 + std::abs(exact)), c, "a path is one of all");
  }
  for (size_t n = 0; n < in.size(); n++)
    for (size_t i = 0; i < in[n].size(); i++) {
      const double term = gradients[n].get(int64_t(i)) * direction[n][i];
      slope += term, size += std::abs(term);
    }
  const double rounding = c.dtype == pyrnn::kBfloat16 ? 4e-3 : c.dtype == pyrnn::kFloat32 ? 1e-5 : 1e-7;
  expect(std::abs(slope - expected) <= rounding * (1 + size), c, "the gradients");
}

}  // namespace

int main() {
  for (const std::string& isa : pyrnn::isas()) {
    pyrnn::set_isa(isa);
    for (int dtype : {pyrnn::kFloat32, pyrnn::kBfloat16, pyrnn::kFloat64})
      for (int64_t C : {1, 2, 9, 33})
        for (int64_t B : {1, 9, 20})
          for (int64_t T : {1, 2, 7})
            for (bool lengths : {false, true}) run({dtype, 1 + int(B > 9), T, B, C, lengths, T != 2});
  }
  std::printf(failures ? "%d failures\n" : "all right\n", failures);
  return failures != 0;
}
