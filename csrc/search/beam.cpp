#include "search/beam.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "search/cpu/engine.h"

namespace pyrnn::search {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

}  // namespace

Beam::Beam(int64_t width, int64_t n_best, int64_t eos_id, int64_t V, const std::vector<int64_t>& limits,
           const std::vector<double>& norm_at_limit)
    : width(width), n_best(n_best), eos_id(eos_id), V(V), ended(limits.size()) {
  require(width >= 1 && width <= kMostWidth && n_best >= 1 && n_best <= width && V >= 1 && eos_id < V,
          "pyrnn: sizes of a beam search that do not fit together");
  require(limits.size() == norm_at_limit.size(), "pyrnn: a limit and its norm for each source");
  for (size_t b = 0; b < limits.size(); b++) {
    require(limits[b] >= 1 && norm_at_limit[b] > 0, "pyrnn: an output of no tokens");
    sources.push_back({int64_t(b), limits[b], width, norm_at_limit[b], {{0.0, -1}}});
  }
}

std::vector<int64_t> Beam::searching() const {
  std::vector<int64_t> numbers;
  for (const Source& source : sources) numbers.push_back(source.number);
  return numbers;
}

Next Beam::advance(const Step& step, int64_t* tokens, int64_t* from, int threads) {
  const int64_t N = rows();
  per_row = std::min(width, V);
  largest.resize(size_t(N)), sum.resize(size_t(N));
  values.resize(size_t(N * per_row)), ids.resize(size_t(N * per_row));
  Choice choice{N,
                V,
                per_row,
                int64_t(step.banned.size()),
                step.raw,
                step.allowed,
                step.banned.data(),
                largest.data(),
                sum.data(),
                values.data(),
                ids.data()};
  choose(step.dtype, choice, threads);
  for (double& each : sum) each = log_of_sum(each, step.dtype);
  const double health = std::accumulate(largest.begin(), largest.end(), 0.0);
  if (!std::isfinite(health)) return {0, true, health};
  length++;
  std::vector<int64_t> kept;
  for (size_t b = 0; b < sources.size(); b++) {
    take(sources[b], int64_t(b) * places, step.norm);
    if (!done(sources[b])) kept.push_back(int64_t(b));
  }
  Next next = place(kept, tokens, from);
  next.health = health;
  return next;
}

// The likeliest continuations of a source's hypotheses, as many as it has open places: those that end here
// are noted, the others live. A merge of the sorted candidates of its rows: of equal ones the hypothesis
// before wins.
void Beam::take(Source& source, int64_t first_row, double norm) {
  std::vector<Live> continued;
  std::vector<int64_t> next(source.live.size());  // of each hypothesis the best candidate not yet taken
  const auto total = [&](size_t k) {
    const int64_t row = first_row + int64_t(k);
    if (next[k] == per_row) return kNothing;
    const double value = values[size_t(row * per_row + next[k])];
    // The logit goes first: it and the largest are of one size, the difference is exact.
    return source.live[k].log_probability + ((value - largest[size_t(row)]) - sum[size_t(row)]);
  };
  std::vector<double> best(source.live.size());
  for (size_t k = 0; k < best.size(); k++) best[k] = total(k);
  for (int64_t open = source.open; open > 0; open--) {
    const size_t k = size_t(std::max_element(best.begin(), best.end()) - best.begin());  // the first of equal
    const double log_probability = best[k];
    if (log_probability == kNothing) break;
    const int64_t row = first_row + int64_t(k), token = ids[size_t(row * per_row + next[k])];
    next[k]++;
    best[k] = total(k);
    const int64_t node = int64_t(nodes.size());
    nodes.push_back({source.live[k].node, token, row});
    if (token == eos_id || length == source.limit) {
      source.open--;
      ended[size_t(source.number)].push_back({log_probability / norm, log_probability, node});
    } else {
      continued.push_back({log_probability, node});
    }
  }
  source.live = std::move(continued);
}

// Whether none of the live hypotheses can beat the n_best that ended.
bool Beam::done(const Source& source) const {
  if (source.live.empty()) return true;
  const double bound = source.live[0].log_probability / source.norm_at_limit;
  const auto& those = ended[size_t(source.number)];
  return std::count_if(those.begin(), those.end(), [&](const Found& f) { return f.score >= bound; }) >=
         n_best;
}

// The sources `kept` go on, with as many places each as the fullest of them needs.
Next Beam::place(const std::vector<int64_t>& kept, int64_t* tokens, int64_t* from) {
  const int64_t before = places;
  const bool all_stay = kept.size() == sources.size();
  int64_t needed = 0;
  for (int64_t b : kept) needed = std::max(needed, int64_t(sources[size_t(b)].live.size()));
  Next next;
  next.stays = all_stay && needed == before;
  places = needed;
  std::vector<Source> remaining;
  for (int64_t b : kept) {
    Source& source = sources[size_t(b)];
    const int64_t alive = int64_t(source.live.size());
    source.live.resize(size_t(places), {kNothing, -1});
    for (int64_t k = 0; k < places; k++, next.rows++) {
      // A place where nothing lives repeats what the model has read in it.
      const int64_t own = b * before + std::min(k, before - 1);
      const Node* node = k < alive ? &nodes[size_t(source.live[size_t(k)].node)] : nullptr;
      tokens[next.rows] = node ? node->token : 0;
      from[next.rows] = node ? node->row : own;
      next.stays = next.stays && from[next.rows] == next.rows;
    }
    if (!all_stay) remaining.push_back(std::move(source));
  }
  if (!all_stay) sources = std::move(remaining);
  return next;
}

std::vector<std::vector<Found>> Beam::found() const {
  std::vector<std::vector<Found>> best = ended;
  for (auto& outputs : best) {
    std::stable_sort(outputs.begin(), outputs.end(),
                     [](const Found& a, const Found& b) { return a.score > b.score; });
    if (int64_t(outputs.size()) > n_best) outputs.resize(size_t(n_best));
  }
  return best;
}

std::vector<const Node*> Beam::trace(const Found& output) const {
  std::vector<const Node*> path;
  for (int64_t at = output.last; at >= 0; at = path.back()->before) path.push_back(&nodes[size_t(at)]);
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace pyrnn::search
