// The kernels without Python, for the sanitizers: every instruction set of this machine and storage type over
// awkward sizes and all options, in heap blocks of the exact size. Outputs are compared with a naive double
// attention, gradients with its central difference along a random direction.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <string>

#include "attention/cpu/engine.h"
#include "common/dispatch.h"
#include "common/test_array.h"

namespace {

using pyrnn::Array;
using pyrnn::attention::Problem;
using Numbers = std::vector<double>;
int failures = 0;

struct Case {
  int64_t B, H, K, T, S, D, V;
  bool causal, window, lengths, padding;
  int mask;  // pyrnn::attention::MaskKind
  double softcap;
  bool slopes;
};

struct Inputs {
  Numbers q, k, v, mask;
  std::vector<int64_t> lengths;
  std::vector<uint8_t> padding;
  std::vector<float> slopes;
};

// Output [B, H, T, V] and weights [B, H, T, S], straight from the equations.
void attend(const Case& c, const Inputs& in, Numbers& out, Numbers& weights) {
  out.assign(size_t(c.B * c.H * c.T * c.V), 0);
  weights.assign(size_t(c.B * c.H * c.T * c.S), 0);
  for (int64_t row = 0; row < c.B * c.H * c.T; row++) {
    const int64_t i = row % c.T, head = row / c.T, b = head / c.H, h = head % c.H;
    const int64_t keys = (b * c.K + h / (c.H / c.K)) * c.S;
    Numbers score(size_t(c.S), -std::numeric_limits<double>::infinity());
    double max_score = score[0], sum = 0;
    for (int64_t j = 0; j < c.S; j++) {
      bool visible = !(c.causal && j > i + 1) && !(c.window && std::abs(j - i - 1) > 2) &&
                     !(c.lengths && j >= in.lengths[b]) && !(c.padding && in.padding[b * c.S + j]);
      const double mask = c.mask == pyrnn::attention::kNoMask ? 0 : in.mask[i * c.S + j];
      if (c.mask == pyrnn::attention::kBoolMask) visible = visible && mask != 0;
      if (!visible) continue;
      double s = 0;
      for (int64_t d = 0; d < c.D; d++) s += in.q[row * c.D + d] * in.k[(keys + j) * c.D + d];
      s *= 0.7;
      if (c.softcap > 0) s = c.softcap * std::tanh(s / c.softcap);
      if (c.slopes) s -= in.slopes[h] * double(std::abs(i + 1 - j));
      if (c.mask == pyrnn::attention::kFloatMask) s += mask;
      score[j] = s;
      max_score = std::max(max_score, s);
    }
    for (double& s : score) s = std::isinf(max_score) ? 0 : std::exp(s - max_score), sum += s;
    for (int64_t j = 0; j < c.S && sum > 0; j++) {
      weights[row * c.S + j] = score[j] / sum;
      for (int64_t f = 0; f < c.V; f++) out[row * c.V + f] += score[j] / sum * in.v[(keys + j) * c.V + f];
    }
  }
}

void expect(const Case& c, int dtype, const char* what, double error, double bound) {
  if (error <= bound) return;
  failures++;
  std::printf("%s dtype %d B%ld H%ld K%ld T%ld S%ld D%ld V%ld mask %d: %s differs by %g\n",
              pyrnn::isa().c_str(), dtype, long(c.B), long(c.H), long(c.K), long(c.T), long(c.S), long(c.D),
              long(c.V), c.mask, what, error);
}

double difference(const Array& a, const Numbers& exact) {
  double worst = 0;
  for (size_t i = 0; i < exact.size(); i++) {
    const double e = std::fabs(a.get(int64_t(i)) - exact[i]);
    worst = e <= worst ? worst : e;
  }
  return worst;
}

Array stored(Numbers& numbers, int dtype) {  // rounds the numbers, too
  Array a(int64_t(numbers.size()), dtype);
  for (size_t i = 0; i < numbers.size(); i++) a.set(int64_t(i), numbers[i]), numbers[i] = a.get(int64_t(i));
  return a;
}

void run(const Case& c, int dtype, std::mt19937& random) {
  std::normal_distribution<double> normal;
  auto draw = [&](int64_t n) {
    Numbers v(static_cast<size_t>(n));
    for (double& x : v) x = normal(random);
    return v;
  };
  Inputs in{draw(c.B * c.H * c.T * c.D),
            draw(c.B * c.K * c.S * c.D),
            draw(c.B * c.K * c.S * c.V),
            draw(c.T * c.S),
            {},
            {},
            {}};
  for (int64_t b = 0; b < c.B; b++) in.lengths.push_back(b == 0 ? c.S : c.S / 2);
  for (int64_t i = 0; i < c.B * c.S; i++) in.padding.push_back(i % 5 == 3);
  for (int64_t h = 0; h < c.H; h++) in.slopes.push_back(0.1f * float(h + 1));
  std::vector<uint8_t> allowed(size_t(c.T * c.S));
  if (c.mask == pyrnn::attention::kBoolMask)
    for (size_t i = 0; i < allowed.size(); i++)
      in.mask[i] = allowed[i] = in.mask[i] > -0.5 && int64_t(i) >= c.S;
  Array q = stored(in.q, dtype), k = stored(in.k, dtype), v = stored(in.v, dtype),
        mask = stored(in.mask, dtype);
  Array out(c.B * c.H * c.T * c.V, dtype), weights(c.B * c.H * c.T * c.S, dtype);
  Array statistics(c.B * c.H * 2 * c.T, dtype == pyrnn::kFloat64 ? dtype : int(pyrnn::kFloat32));
  Numbers g_numbers = draw(out.size()), g_weight_numbers = draw(weights.size());
  Array g_out = stored(g_numbers, dtype), g_weights = stored(g_weight_numbers, dtype);
  Array d_q(q.size(), dtype), d_k(k.size(), dtype), d_v(v.size(), dtype), d_mask(weights.size(), dtype);

  Problem p{};
  p.dtype = dtype, p.B = c.B, p.H = c.H, p.K = c.K, p.T = c.T, p.S = c.S, p.D = c.D, p.V = c.V;
  p.causal = c.causal, p.window_left = p.window_right = c.window ? 2 : -1, p.query_start = 1;
  p.mask_kind = c.mask, p.weights_kind = pyrnn::attention::kAllWeights, p.scale = 0.7, p.softcap = c.softcap;
  auto heads = [](Array& a, int64_t count, int64_t rows, int64_t features) {
    return pyrnn::attention::Heads{a.bytes.data(), count * rows * features, rows * features, features};
  };
  p.q = heads(q, c.H, c.T, c.D), p.k = heads(k, c.K, c.S, c.D), p.v = heads(v, c.K, c.S, c.V);
  p.out = heads(out, c.H, c.T, c.V), p.g_out = heads(g_out, c.H, c.T, c.V);
  p.d_q = heads(d_q, c.H, c.T, c.D), p.d_k = heads(d_k, c.K, c.S, c.D), p.d_v = heads(d_v, c.K, c.S, c.V);
  if (c.mask != pyrnn::attention::kNoMask)
    p.mask = {c.mask == pyrnn::attention::kBoolMask ? allowed.data() : mask.bytes.data(), 0, 0, c.S, 1};
  p.weights = {weights.bytes.data(), c.H * c.T * c.S, c.T * c.S, c.S, 1};
  p.g_weights = p.weights;
  p.g_weights.data = g_weights.bytes.data();
  if (c.lengths) p.lengths = in.lengths.data();
  if (c.padding) p.padding = in.padding.data();
  if (c.slopes) p.slopes = in.slopes.data(), p.slope_head = 1;
  p.statistics = statistics.bytes.data();
  if (c.mask == pyrnn::attention::kFloatMask) p.d_mask = d_mask.bytes.data();
  pyrnn::attention::forward(p, 2);
  pyrnn::attention::backward(p, 2);

  Numbers exact, exact_weights;
  attend(c, in, exact, exact_weights);
  const double bound = dtype == pyrnn::kFloat64 ? 1e-12 : dtype == pyrnn::kFloat32 ? 1e-5 : 5e-2;
  expect(c, dtype, "output", difference(out, exact), bound);
  expect(c, dtype, "weights", difference(weights, exact_weights), bound);
  if (dtype != pyrnn::kFloat64) return;

  double analytic = 0, numeric = 0;
  const double step = 1e-6;
  Inputs plus = in, minus = in;
  auto move = [&](Numbers& up, Numbers& down, const Array& gradient, int64_t copies) {
    for (size_t i = 0; i < up.size(); i++) {
      const double direction = normal(random);
      for (int64_t n = 0; n < copies; n++)
        analytic += direction * gradient.get(int64_t(i) + n * int64_t(up.size()));
      up[i] += step * direction, down[i] -= step * direction;
    }
  };
  move(plus.q, minus.q, d_q, 1);
  move(plus.k, minus.k, d_k, 1);
  move(plus.v, minus.v, d_v, 1);
  if (c.mask == pyrnn::attention::kFloatMask) move(plus.mask, minus.mask, d_mask, c.B * c.H);
  Numbers up, down, up_weights, down_weights;
  attend(c, plus, up, up_weights);
  attend(c, minus, down, down_weights);
  for (size_t i = 0; i < up.size(); i++) numeric += g_numbers[i] * (up[i] - down[i]) / (2 * step);
  for (size_t i = 0; i < up_weights.size(); i++)
    numeric += g_weight_numbers[i] * (up_weights[i] - down_weights[i]) / (2 * step);
  expect(c, dtype, "gradient", std::fabs(analytic - numeric), 1e-6 * (1 + std::fabs(numeric)));
}

}  // namespace

int main() {
  std::mt19937 random(1);
  int cases = 0;
  const Case sizes[] = {{1, 1, 1, 1, 1, 1, 1, false, false, false, false, 0, 0, false},
                        {2, 4, 2, 5, 7, 3, 2, true, false, true, false, 0, 0, false},
                        {1, 2, 1, 3, 70, 9, 17, false, true, false, true, 0, 5, true},
                        {2, 2, 2, 67, 65, 16, 20, true, false, true, true, 0, 0, true},
                        {1, 1, 1, 50, 131, 33, 8, false, true, false, false, 0, 2, false},
                        {2, 2, 1, 2, 600, 10, 12, false, false, true, true, 0, 0, false}};
  for (const std::string& isa : pyrnn::isas()) {
    pyrnn::set_isa(isa);
    for (int dtype = 0; dtype < pyrnn::kCpuDTypes; dtype++)
      for (int mask : {pyrnn::attention::kNoMask, pyrnn::attention::kBoolMask, pyrnn::attention::kFloatMask})
        for (Case c : sizes) {
          c.mask = mask;
          run(c, dtype, random);
          cases++;
        }
  }
  std::printf("%d cases, %d failed\n", cases, failures);
  return failures != 0;
}
