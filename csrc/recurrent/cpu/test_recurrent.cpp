// The kernels without Python, for the sanitizers: every instruction set of this machine, storage type and
// cell over awkward sizes, in heap blocks of the exact size. Outputs are compared with a naive double
// network, gradients with its central difference along a random direction.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "common/dispatch.h"
#include "common/test_array.h"
#include "recurrent/cells/table.h"
#include "recurrent/cpu/engine.h"

namespace {

using pyrnn::Array;
using pyrnn::recurrent::kCells;
using pyrnn::recurrent::Problem;
int failures = 0;

struct Case {
  int cell, dtype, threads, group_size;
  int64_t T, B, I, H, P, D, checkpoint_every;
  bool lengths, resets;

  const pyrnn::recurrent::CellInfo& info() const { return kCells[cell]; }
  bool is(const char* name) const { return std::strcmp(info().name, name) == 0; }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

using Numbers = std::vector<double>;
Numbers numbers(const Array& a) {
  Numbers v(a.size());
  for (size_t i = 0; i < v.size(); i++) v[i] = a.get(int64_t(i));
  return v;
}

// Inputs in one order: x, then per direction w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0.
struct Network {
  const Case& c;
  std::vector<int64_t> last;
  std::vector<uint8_t> reset;  // [T, B], or empty

  int64_t gates() const { return c.info().gates; }
  std::vector<int64_t> sizes() const {
    std::vector<int64_t> n = {c.T * c.B * c.I};
    for (int64_t d = 0; d < c.D; d++)
      for (int64_t size : {gates() * c.H * c.I, gates() * c.H * c.P, gates() * c.H, gates() * c.H,
                           c.P == c.H ? 0 : c.P * c.H, c.B * c.P, c.info().has_c ? c.B * c.H : 0})
        n.push_back(size);
    return n;
  }

  // The output [T, B, D*P].
  Numbers run(const std::vector<Numbers>& in) const {
    Numbers y(c.T * c.B * c.D * c.P);
    const int64_t G = gates();
    for (int64_t d = 0; d < c.D; d++) {
      const Numbers* w = &in[1 + 7 * d];
      for (int64_t b = 0; b < c.B; b++) {
        Numbers h(w[5].begin() + b * c.P, w[5].begin() + (b + 1) * c.P), cell(c.H), m(c.H);
        if (!w[6].empty()) cell.assign(w[6].begin() + b * c.H, w[6].begin() + (b + 1) * c.H);
        for (int64_t s = 0; s < last[b]; s++) {
          const int64_t t = d == 0 ? s : last[b] - 1 - s;
          const int64_t later = d == 0 ? t : t + 1;  // of the two steps between which the state passes
          if (!reset.empty() && (d == 0 || s > 0) && reset[later * c.B + b]) {
            h.assign(c.P, 0);
            cell.assign(c.H, 0);
          }
          Numbers gx(G * c.H), gh(G * c.H);
          for (int64_t j = 0; j < G * c.H; j++) {
            gx[j] = w[2][j], gh[j] = w[3][j];
            for (int64_t k = 0; k < c.I; k++) gx[j] += w[0][j * c.I + k] * in[0][(t * c.B + b) * c.I + k];
            for (int64_t k = 0; k < c.P; k++) gh[j] += w[1][j * c.P + k] * h[k];
          }
          for (int64_t u = 0; u < c.H; u++) {
            auto sum = [&](int64_t g) { return gx[g * c.H + u] + gh[g * c.H + u]; };
            if (c.is("rnn_tanh")) m[u] = std::tanh(sum(0));
            if (c.is("rnn_relu")) m[u] = std::fmax(0, sum(0));
            if (c.is("gru")) {
              const double r = sigmoid(sum(0)), z = sigmoid(sum(1));
              const double n = std::tanh(gx[2 * c.H + u] + r * gh[2 * c.H + u]);
              m[u] = (1 - z) * n + z * h[u];
            }
            if (c.is("lstm")) {
              cell[u] = sigmoid(sum(1)) * cell[u] + sigmoid(sum(0)) * std::tanh(sum(2));
              m[u] = sigmoid(sum(3)) * std::tanh(cell[u]);
            }
          }
          for (int64_t q = 0; q < c.P; q++) {
            h[q] = c.P == c.H ? m[q] : 0;
            for (int64_t u = 0; u < c.H && c.P != c.H; u++) h[q] += w[4][q * c.H + u] * m[u];
            y[(t * c.B + b) * c.D * c.P + d * c.P + q] = h[q];
          }
        }
      }
    }
    return y;
  }
};

void check(const Case& c, const char* what, double error, double bound) {
  if (error <= bound) return;
  failures++;
  std::printf(
      "FAILED %s %s: cell %d dtype %d T %d B %d I %d H %d P %d D %d threads %d group_size %d "
      "resets %d: %g > %g\n",
      pyrnn::isa().c_str(), what, c.cell, c.dtype, int(c.T), int(c.B), int(c.I), int(c.H), int(c.P), int(c.D),
      c.threads, c.group_size, int(c.resets), error, bound);
}

void run(const Case& c, std::mt19937& random) {
  std::normal_distribution<double> normal(0, 0.5);
  Network network{c, {}, {}};
  for (int64_t b = 0; b < c.B; b++)
    network.last.push_back(c.lengths && b ? int64_t(random() % (c.T + 1)) : c.T);
  for (int64_t i = 0; c.resets && i < c.T * c.B; i++) network.reset.push_back(random() % 3 == 0);
  std::vector<Array> in, gradient;
  for (int64_t n : network.sizes()) {
    in.emplace_back(n, c.dtype), gradient.emplace_back(n, c.dtype);
    for (int64_t i = 0; i < n; i++) in.back().set(i, normal(random));
  }
  const int64_t rows = c.T * c.B, width = c.D * c.P, Hp = (c.H + 15) / 16 * 16;
  Array y(rows * width, c.dtype), g_y(rows * width, c.dtype), h_n(c.D * c.B * c.P, c.dtype),
      c_n(c.D * c.B * c.H, c.dtype);
  for (int64_t i = 0; i < rows * width; i++) g_y.set(i, normal(random));
  const int64_t kept =
      c.checkpoint_every
          ? (c.info().has_c ? c.D * ((c.T + c.checkpoint_every - 1) / c.checkpoint_every) * c.B * Hp : 0)
          : c.D * rows * c.info().saved * Hp;
  Array workspace(kept, c.dtype == pyrnn::kFloat64 ? pyrnn::kFloat64 : pyrnn::kFloat32);

  auto data = [](Array& a) -> void* { return a.bytes.empty() ? nullptr : a.bytes.data(); };
  auto part = [&](Array& a, int64_t d) -> void* {
    return a.bytes.empty() ? nullptr : a.bytes.data() + d * int64_t(a.bytes.size()) / c.D;
  };
  Problem p{};
  p.cell = c.cell, p.dtype = c.dtype, p.T = c.T, p.B = c.B, p.I = c.I, p.H = c.H, p.P = c.P, p.D = c.D,
  p.N = rows;
  p.checkpoint_every = c.checkpoint_every;
  p.lengths = c.lengths ? network.last.data() : nullptr;
  p.reset = c.resets ? network.reset.data() : nullptr;
  p.workspace = data(workspace);
  p.x = {data(in[0]), c.B * c.I, c.I}, p.d_x = {data(gradient[0]), c.B * c.I, c.I};
  p.y = {data(y), c.B * width, width}, p.g_y = {data(g_y), c.B * width, width};
  for (int64_t d = 0; d < c.D; d++) {
    Array *w = &in[1 + 7 * d], *g = &gradient[1 + 7 * d];
    p.direction[d] = {data(w[0]), data(w[1]),   data(w[2]),   data(w[3]), data(w[4]), data(w[5]),
                      data(w[6]), part(h_n, d), part(c_n, d), nullptr,    nullptr,    data(g[0]),
                      data(g[1]), data(g[2]),   data(g[3]),   data(g[4]), data(g[5]), data(g[6])};
  }
  pyrnn::recurrent::forward(p, nullptr, c.threads, c.group_size);
  pyrnn::recurrent::backward(p, nullptr, c.threads, c.group_size);

  std::vector<Numbers> values;
  for (const Array& a : in) values.push_back(numbers(a));
  const Numbers expected = network.run(values);
  double error = 0, largest = 1;
  for (size_t i = 0; i < expected.size(); i++) {
    error = std::fmax(error, std::fabs(expected[i] - y.get(int64_t(i))));
    largest = std::fmax(largest, std::fabs(expected[i]));  // relu is unbounded
  }
  const double unit = c.dtype == pyrnn::kFloat64 ? 1e-12 : c.dtype == pyrnn::kFloat32 ? 1e-4 : 0.2;
  check(c, "output", error, unit * largest);
  if (c.dtype != pyrnn::kFloat64 || c.is("rnn_relu")) return;  // relu has kinks

  double analytic = 0, step = 1e-5;
  auto plus = values, minus = values;
  for (size_t i = 0; i < values.size(); i++)
    for (size_t j = 0; j < values[i].size(); j++) {
      const double direction = normal(random);
      analytic += direction * gradient[i].get(int64_t(j));
      plus[i][j] += step * direction, minus[i][j] -= step * direction;
    }
  const Numbers up = network.run(plus), down = network.run(minus);
  double numeric = 0;
  for (size_t i = 0; i < up.size(); i++) numeric += g_y.get(int64_t(i)) * (up[i] - down[i]) / (2 * step);
  check(c, "gradient", std::fabs(analytic - numeric), 1e-6 * (1 + std::fabs(numeric)));
}

}  // namespace

int main() {
  std::mt19937 random(1);
  int cases = 0;
  for (const std::string& isa : pyrnn::isas()) {
    pyrnn::set_isa(isa);
    for (int cell = 0; cell < pyrnn::recurrent::kCellKinds; cell++)
      for (int dtype = 0; dtype < pyrnn::kCpuDTypes; dtype++)
        for (int group_size : {1, 2})
          for (const Case& size : {Case{0, 0, 2, 0, 4, 3, 5, 7, 7, 1, 0, false, false},
                                   Case{0, 0, 2, 0, 5, 9, 1, 33, 33, 2, 0, true, false},
                                   Case{0, 0, 2, 0, 7, 2, 17, 20, 20, 2, 3, true, false},
                                   Case{0, 0, 1, 0, 3, 1, 2, 1, 1, 1, 0, false, false},
                                   Case{0, 0, 3, 0, 6, 4, 3, 18, 5, 2, 2, true, false},
                                   Case{0, 0, 2, 0, 7, 5, 3, 17, 17, 2, 0, false, true},
                                   Case{0, 0, 2, 0, 8, 3, 2, 18, 5, 2, 3, true, true},
                                   Case{0, 0, 1, 0, 2, 2, 2, 3, 3, 2, 0, false, true}}) {
            Case c = size;
            c.cell = cell, c.dtype = dtype, c.group_size = c.threads % group_size ? 1 : group_size;
            if (!c.info().has_c) c.P = c.H;
            run(c, random);
            cases++;
          }
  }
  std::printf("%d cases, %d failed\n", cases, failures);
  return failures != 0;
}
