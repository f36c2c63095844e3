// The kernels and the beam without Python, for the sanitizers: every instruction set of this machine and
// storage type over awkward sizes, in heap blocks of the exact size, against the definitions.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <random>
#include <string>

#include "common/dispatch.h"
#include "common/test_array.h"
#include "search/beam.h"
#include "search/cpu/engine.h"

namespace {

using pyrnn::Array;
using pyrnn::search::Choice;
using Ids = std::vector<int64_t>;
using Numbers = std::vector<double>;
constexpr double kNothing = -std::numeric_limits<double>::infinity();
int failures = 0, cases = 0;

void expect(bool condition, const char* what, int dtype, int64_t V, int64_t width) {
  if (condition) return;
  failures++;
  std::printf("%s dtype %d V%ld width %ld: %s\n", pyrnn::isa().c_str(), dtype, long(V), long(width), what);
}

// Quarters, so that many are equal; some tokens are impossible.
Array draw(int64_t count, int dtype, std::mt19937& random) {
  Array logits(count, dtype);
  std::uniform_int_distribution<int> quarters(-20, 20);
  for (int64_t i = 0; i < count; i++) {
    const int x = quarters(random);
    logits.set(i, x == 7 ? kNothing : x / 4.0);
  }
  return logits;
}

// Ids of a row's tokens that may come, best first.
Ids ranked(const Array& allowed, int64_t row, int64_t V, const Ids& banned) {
  Ids ids;
  for (int64_t v = 0; v < V; v++)
    if (allowed.get(row * V + v) > kNothing && std::find(banned.begin(), banned.end(), v) == banned.end())
      ids.push_back(v);
  std::stable_sort(ids.begin(), ids.end(),
                   [&](int64_t a, int64_t b) { return allowed.get(row * V + a) > allowed.get(row * V + b); });
  return ids;
}

void check_choice(int64_t rows, int64_t V, int64_t width, int dtype, bool edited, Ids banned,
                  std::mt19937& random) {
  cases++;
  Array raw = draw(rows * V, dtype, random), allowed = raw;
  for (int64_t i = 0; edited && i < rows * V; i += 3) allowed.set(i, kNothing);
  for (int64_t r = 0; r < rows; r++) raw.set(r * V + r % V, 1);  // one is possible
  Numbers largest(rows), sum(rows), values(rows * width);
  Ids ids(rows * width);
  Choice p{rows,
           V,
           width,
           int64_t(banned.size()),
           raw.bytes.data(),
           edited ? allowed.bytes.data() : raw.bytes.data(),
           banned.data(),
           largest.data(),
           sum.data(),
           values.data(),
           ids.data()};
  pyrnn::search::choose(dtype, p, 2);
  for (int64_t r = 0; r < rows; r++) {
    double most = kNothing;
    long double exact = 0;
    for (int64_t v = 0; v < V; v++) most = std::max(most, raw.get(r * V + v));
    for (int64_t v = 0; v < V; v++) exact += std::exp(raw.get(r * V + v) - most);
    expect(largest[r] == most, "largest", dtype, V, width);
    const double bound = dtype == pyrnn::kFloat64 ? 1e-14 : 1e-7;
    expect(std::fabs(double(sum[r] - exact)) <= bound * double(exact), "sum", dtype, V, width);
    const Ids expected = ranked(edited ? allowed : raw, r, V, banned);
    for (int64_t i = 0; i < width; i++) {
      const bool there = i < int64_t(expected.size());
      const double value = there ? (edited ? allowed : raw).get(r * V + expected[size_t(i)]) : kNothing;
      expect(ids[r * width + i] == (there ? expected[size_t(i)] : 0), "ids", dtype, V, width);
      expect(values[r * width + i] == value, "values", dtype, V, width);
    }
  }
}

// What is damaged shows in the largest logit, wherever it stands.
void check_damage(int dtype, std::mt19937& random) {
  for (int64_t place : {0, 5, 66, 69})
    for (double bad : {std::nan(""), -kNothing}) {
      cases++;
      Array raw = draw(70, dtype, random);
      raw.set(place, bad);
      Numbers largest(1), sum(1), values(3);
      Ids ids(3);
      pyrnn::search::choose(dtype,
                            {1, 70, 3, 0, raw.bytes.data(), raw.bytes.data(), nullptr, largest.data(),
                             sum.data(), values.data(), ids.data()},
                            1);
      expect(std::isnan(bad) ? std::isnan(largest[0]) : largest[0] == bad, "damage", dtype, 70, 3);
    }
}

// One hypothesis of a search by the definition.
struct Partial {
  double log_probability;
  Ids tokens;
  int64_t row;
};

// Random logits at each step, the same for both: all outputs that ended, compared.
void check_beam(int64_t width, int64_t V, int64_t limit, int dtype, std::mt19937& random) {
  cases++;
  const int64_t eos = 1;
  pyrnn::search::Beam beam(width, width, eos, V, {limit, 1}, {1.0, 1.0});
  std::vector<Partial> live[2] = {{{0, {}, 0}}, {{0, {}, 1}}}, ended[2];
  Ids tokens(size_t(beam.most_rows())), from(size_t(beam.most_rows()));
  for (int64_t step = 1; beam.rows() > 0; step++) {
    const int64_t rows = beam.rows();
    Array raw = draw(rows * V, dtype, random);
    for (int64_t r = 0; r < rows; r++) raw.set(r * V, 2);
    const Ids banned;
    const auto next =
        beam.advance({dtype, raw.bytes.data(), raw.bytes.data(), banned, 1.0}, tokens.data(), from.data(), 1);
    expect(next.rows == beam.rows() && next.rows <= int64_t(tokens.size()), "rows", dtype, V, width);
    for (int b = 0; b < 2; b++) {
      std::vector<Partial> all;
      for (const Partial& partial : live[b]) {
        double sum = 0;
        for (int64_t v = 0; v < V; v++) sum += std::exp(raw.get(partial.row * V + v));
        for (int64_t v : ranked(raw, partial.row, V, {})) {
          Partial longer = partial;
          longer.log_probability += raw.get(partial.row * V + v) - std::log(sum);
          longer.tokens.push_back(v);
          all.push_back(longer);
        }
      }
      std::stable_sort(all.begin(), all.end(), [](const Partial& x, const Partial& y) {
        return x.log_probability > y.log_probability + 1e-7;
      });
      live[b].clear();
      for (size_t i = 0, open = size_t(width) - ended[b].size(); i < std::min(all.size(), open); i++)
        (all[i].tokens.back() == eos || step == (b ? 1 : limit) ? ended[b] : live[b]).push_back(all[i]);
      // Where each lives now; a source that has left, or is done, is compared at the end.
      const auto searching = beam.searching();
      const auto found = std::find(searching.begin(), searching.end(), int64_t(b));
      if (found == searching.end()) live[b].clear();
      const int64_t places = searching.empty() ? 0 : next.rows / int64_t(searching.size());
      for (size_t k = 0; k < live[b].size(); k++) live[b][k].row = (found - searching.begin()) * places + k;
    }
  }
  const auto found = beam.found();
  for (int b = 0; b < 2; b++) {
    std::stable_sort(ended[b].begin(), ended[b].end(), [](const Partial& x, const Partial& y) {
      return x.log_probability > y.log_probability + 1e-7;
    });
    expect(found[b].size() == ended[b].size(), "number of outputs", dtype, V, width);
    for (size_t i = 0; i < std::min(found[b].size(), ended[b].size()); i++) {
      const auto path = beam.trace(found[b][i]);
      Ids written;
      for (const auto* node : path) written.push_back(node->token);
      expect(written == ended[b][i].tokens, "tokens", dtype, V, width);
      const double error = std::fabs(found[b][i].log_probability - ended[b][i].log_probability);
      expect(error < 1e-6, "log-probability", dtype, V, width);
    }
  }
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (const std::string& isa : pyrnn::isas()) {
    pyrnn::set_isa(isa);
    for (int dtype = 0; dtype < pyrnn::kCpuDTypes; dtype++) {
      for (int64_t V : {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 65, 130, 1000, 70001})
        for (int64_t width : {1, 2, 5, 9, 33, 128})
          for (bool edited : {false, true}) {
            if (width > V) continue;
            check_choice(V > 1000 ? 3 : 2, V, width, dtype, edited, {}, random);
            check_choice(1, V, width, dtype, edited, {0, V / 2, V - 1}, random);
          }
      check_damage(dtype, random);
      for (int64_t width : {1, 3, 8})
        for (int64_t limit : {1, 2, 5}) check_beam(width, 6, limit, dtype, random);
    }
  }
  std::printf("%d cases, %d failed\n", cases, failures);
  return failures != 0;
}
