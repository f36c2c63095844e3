// The kernels without Python, for the sanitizers: every instruction set of this machine and storage type over
// awkward sizes, in heap blocks of the exact size. Results are compared with a naive double decoder,
// gradients with its central difference along a random direction.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

#include "common/dispatch.h"
#include "common/test_array.h"
#include "decoder/cpu/engine.h"
#include "recurrent/cells/table.h"

namespace {

using pyrnn::Array;
using pyrnn::decoder::Problem;
using Numbers = std::vector<double>;
int failures = 0;

struct Case {
  int64_t T, B, S, H, A, V, W;  // W = 0: dot product of the state's own query, A = H
  bool lstm, cumulative;
};

// x, h_0, c_0, context_0, keys, values, weight_hh, bias_hh, weight_context, weight_query, score_weight,
// weight_location, alignment_0.
constexpr int kInputs = 13, kResults = 6;
using Inputs = std::vector<Numbers>;

int64_t target_length(const Case& c, int64_t b) { return b % 3 == 1 ? c.T / 2 : b % 3 == 2 ? 0 : c.T; }
int64_t source_length(const Case& c, int64_t b) { return b % 4 == 1 ? (c.S + 1) / 2 : b % 4 == 3 ? 0 : c.S; }

std::vector<int64_t> sizes_of(const Case& c) {
  const int64_t G = (c.lstm ? 4 : 3) * c.H, additive = c.W ? c.A : 0;
  return {c.T * c.B * G,
          c.B * c.H,
          c.lstm ? c.B * c.H : 0,
          c.B * c.V,
          c.S * c.B * c.A,
          c.S * c.B * c.V,
          G * c.H,
          G,
          G * c.V,
          additive * c.H,
          additive,
          additive * c.W,
          c.W ? c.B * c.S : 0};
}
std::vector<int64_t> result_sizes(const Case& c) {
  return {c.T * c.B * c.H, c.T * c.B * c.V, c.T * c.B * c.S, c.B * c.H, c.lstm ? c.B * c.H : 0, c.B * c.S};
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// output, context, weights, h_n, c_n, alignment_n of one row of the batch, straight from the equations.
void decode_row(const Case& c, const Inputs& in, int64_t b, std::vector<Numbers>& out) {
  const int64_t G = c.lstm ? 4 : 3, n = source_length(c, b);
  const auto row = [&](int i, int64_t at, int64_t width) {
    return in[i].empty() ? Numbers(size_t(width))
                         : Numbers(in[i].begin() + at * width, in[i].begin() + (at + 1) * width);
  };
  Numbers h = row(1, b, c.H), state = row(2, b, c.H), m = row(3, b, c.V), a = row(12, b, c.S);
  for (int64_t s = n; s < c.S; s++) a[s] = 0;
  for (int64_t t = 0; t < target_length(c, b); t++) {
    const int64_t at = t * c.B + b;
    Numbers x = row(0, at, G * c.H), y = in[7];
    for (int64_t g = 0; g < G * c.H; g++) {
      for (int64_t i = 0; i < c.V; i++) x[g] += in[8][g * c.V + i] * m[i];
      for (int64_t i = 0; i < c.H; i++) y[g] += in[6][g * c.H + i] * h[i];
    }
    for (int64_t u = 0; u < c.H; u++) {
      const auto gate = [&](int64_t g) { return x[g * c.H + u] + y[g * c.H + u]; };
      if (c.lstm) {
        state[u] = sigmoid(gate(1)) * state[u] + sigmoid(gate(0)) * std::tanh(gate(2));
        h[u] = sigmoid(gate(3)) * std::tanh(state[u]);
      } else {
        const double z = sigmoid(gate(1)), r = sigmoid(gate(0));
        h[u] = z * h[u] + (1 - z) * std::tanh(x[2 * c.H + u] + r * y[2 * c.H + u]);
      }
    }
    Numbers q = h, e(size_t(c.S));
    if (c.W) q.assign(size_t(c.A), 0);
    for (int64_t f = 0; c.W && f < c.A; f++)
      for (int64_t u = 0; u < c.H; u++) q[f] += in[9][f * c.H + u] * h[u];
    double sum = 0;
    for (int64_t s = 0; s < n; s++) {
      for (int64_t f = 0; f < c.A; f++) {
        const double k = in[4][(s * c.B + b) * c.A + f];
        double term = q[f] + k;
        for (int64_t j = 0; j < c.W; j++) {
          const int64_t seen = s + j - c.W / 2;
          if (seen >= 0 && seen < c.S) term += in[11][f * c.W + j] * a[seen];
        }
        e[s] += c.W ? in[10][f] * std::tanh(term) : 0.3 * q[f] * k;
      }
      sum += e[s] = std::exp(e[s]);
    }
    m.assign(size_t(c.V), 0);
    for (int64_t s = 0; s < n; s++) {
      const double w = e[s] / sum;
      out[2][at * c.S + s] = w;
      a[s] = c.cumulative ? a[s] + w : w;
      for (int64_t i = 0; i < c.V; i++) m[i] += w * in[5][(s * c.B + b) * c.V + i];
    }
    std::copy(h.begin(), h.end(), out[0].begin() + at * c.H);
    std::copy(m.begin(), m.end(), out[1].begin() + at * c.V);
  }
  std::copy(h.begin(), h.end(), out[3].begin() + b * c.H);
  if (c.lstm) std::copy(state.begin(), state.end(), out[4].begin() + b * c.H);
  std::copy(a.begin(), a.end(), out[5].begin() + b * c.S);
}

std::vector<Numbers> decode(const Case& c, const Inputs& in) {
  std::vector<Numbers> out;
  for (int64_t size : result_sizes(c)) out.emplace_back(size_t(size));
  for (int64_t b = 0; b < c.B; b++) decode_row(c, in, b, out);
  return out;
}

void expect(const Case& c, int dtype, const char* what, int which, double error, double bound) {
  if (error <= bound) return;
  failures++;
  std::printf("%s dtype %d T%ld B%ld S%ld H%ld A%ld V%ld W%ld %s: %s %d differs by %g\n",
              pyrnn::isa().c_str(), dtype, long(c.T), long(c.B), long(c.S), long(c.H), long(c.A), long(c.V),
              long(c.W), c.lstm ? "lstm" : "gru", what, which, error);
}

void run(const Case& c, int dtype, std::mt19937& random) {
  std::normal_distribution<double> normal;
  const auto draw = [&](int64_t n) {
    Numbers numbers(static_cast<size_t>(n));
    for (double& x : numbers) x = 0.5 * normal(random);
    return numbers;
  };
  const auto stored = [&](Numbers& numbers) {  // rounds the numbers, too
    Array a(int64_t(numbers.size()), dtype);
    for (size_t i = 0; i < numbers.size(); i++) a.set(int64_t(i), numbers[i]), numbers[i] = a.get(int64_t(i));
    return a;
  };
  Inputs in, direction;
  std::vector<Array> given, found, g_found, gradients;
  for (int64_t size : sizes_of(c)) {
    in.push_back(draw(size)), direction.push_back(draw(size));
    given.push_back(stored(in.back())), gradients.emplace_back(size, dtype);
  }
  std::vector<Numbers> cotangents;
  for (int64_t size : result_sizes(c)) {
    cotangents.push_back(draw(size));
    found.emplace_back(size, dtype), g_found.push_back(stored(cotangents.back()));
  }
  std::vector<int64_t> lengths, source_lengths;
  for (int64_t b = 0; b < c.B; b++)
    lengths.push_back(target_length(c, b)), source_lengths.push_back(source_length(c, b));
  const int sums = dtype == pyrnn::kFloat64 ? dtype : int(pyrnn::kFloat32);
  const int cell = c.lstm ? 3 : 2;
  const int64_t saved = pyrnn::recurrent::kCells[cell].saved, Hp = (c.H + 15) / 16 * 16;
  Array gates(c.T * c.B * saved * Hp, sums), queries(c.W ? c.T * c.B * c.A : 0, sums);
  const auto at = [](Array& a) -> void* { return a.bytes.empty() ? nullptr : a.bytes.data(); };

  Problem p{};
  p.cell = cell, p.dtype = dtype, p.cumulative = c.cumulative, p.scale = c.W ? 1 : 0.3;
  p.T = c.T, p.B = c.B, p.S = c.S, p.H = c.H, p.A = c.A, p.V = c.V, p.W = c.W;
  p.lengths = lengths.data(), p.source_lengths = source_lengths.data();
  const int64_t G = pyrnn::recurrent::kCells[cell].gates * c.H;
  p.x = {at(given[0]), c.B * G, G}, p.keys = {at(given[4]), c.B * c.A, c.A};
  p.values = {at(given[5]), c.B * c.V, c.V};
  const void** inputs[] = {nullptr,           &p.h_0,          &p.c_0,          &p.context_0,
                           nullptr,           nullptr,         &p.weight_hh,    &p.bias_hh,
                           &p.weight_context, &p.weight_query, &p.score_weight, &p.weight_location,
                           &p.alignment_0};
  void** d_inputs[] = {&p.d_x,
                       &p.d_h_0,
                       &p.d_c_0,
                       &p.d_context_0,
                       &p.d_keys,
                       &p.d_values,
                       &p.d_weight_hh,
                       &p.d_bias_hh,
                       &p.d_weight_context,
                       &p.d_weight_query,
                       &p.d_score_weight,
                       &p.d_weight_location,
                       &p.d_alignment_0};
  void** results[] = {&p.output, &p.context, &p.weights, &p.h_n, &p.c_n, &p.alignment_n};
  const void** g_results[] = {&p.g_output, &p.g_context, &p.g_weights, &p.g_h_n, &p.g_c_n, &p.g_alignment_n};
  for (int i = 0; i < kInputs; i++) {
    if (inputs[i]) *inputs[i] = at(given[i]);
    *d_inputs[i] = at(gradients[i]);
  }
  for (int i = 0; i < kResults; i++) *results[i] = at(found[i]), *g_results[i] = at(g_found[i]);
  pyrnn::decoder::forward(p, 2);  // as in inference
  p.gates = at(gates), p.queries = at(queries);
  pyrnn::decoder::forward(p, 2);
  pyrnn::decoder::backward(p, 2);

  const double eps = dtype == pyrnn::kBfloat16 ? 0.1 : dtype == pyrnn::kFloat32 ? 1e-4 : 1e-6;
  const auto exact = decode(c, in);
  for (int i = 0; i < kResults; i++)
    for (size_t j = 0; j < exact[i].size(); j++)
      expect(c, dtype, "result", i, std::fabs(found[i].get(int64_t(j)) - exact[i][j]), eps);
  const auto loss = [&](const Inputs& moved) {
    double sum = 0;
    const auto out = decode(c, moved);
    for (int i = 0; i < kResults; i++)
      for (size_t j = 0; j < out[i].size(); j++) sum += out[i][j] * cotangents[i][j];
    return sum;
  };
  for (int i = 0; i < kInputs; i++) {
    const double step = 1e-5;
    Inputs above = in, below = in;
    double ours = 0, size = 1;
    for (size_t j = 0; j < in[i].size(); j++) {
      above[i][j] += step * direction[i][j], below[i][j] -= step * direction[i][j];
      const double part = gradients[i].get(int64_t(j)) * direction[i][j];
      ours += part, size += part * part;
    }
    expect(c, dtype, "gradient", i, std::fabs(ours - (loss(above) - loss(below)) / (2 * step)),
           10 * eps * std::sqrt(size));
  }
}

}  // namespace

int main() {
  std::mt19937 random(0);
  const Case cases[] = {{3, 2, 5, 7, 7, 3, 0, true, false},      {4, 3, 9, 17, 33, 18, 3, true, true},
                        {5, 9, 17, 33, 33, 65, 0, false, false}, {4, 7, 6, 34, 19, 31, 5, false, false},
                        {1, 6, 3, 16, 40, 16, 1, true, true},    {2, 5, 1, 1, 1, 1, 7, false, true},
                        {60, 12, 4, 5, 3, 2, 1, true, false}};
  for (const auto& isa : pyrnn::isas()) {
    pyrnn::set_isa(isa);
    for (int dtype = 0; dtype < pyrnn::kCpuDTypes; dtype++)
      for (const Case& c : cases) run(c, dtype, random);
  }
  std::printf("%d failed\n", failures);
  return failures != 0;
}
