// Forward pass for up to kDecodeQueries queries, as when a model generates: a panel would leave most lanes
// idle, and the time is that of reading keys and values.
//
// Each is read once, along its features: scores are dot products, outputs sums of rows. The keys are split
// into partitions, short ones where there are few heads, so that one query has work for all cores; if there
// are several, a second stage reduces them by their maxima. A third computes the weights for callers who want
// to see them. Bytes: keys and values; operations: 2 R S (D + V) a head of keys, R = T H / K its queries.
#pragma once
#include "attention/cpu/long_sum.h"
#include "attention/cpu/operands.h"
#include "attention/cpu/panel.h"

namespace pyrnn::attention {
namespace {

constexpr int64_t kDecodeQueries = 4;

inline bool takes_decode_path(const Problem& p) { return p.T <= kDecodeQueries && p.dropout == 0; }

template <class S, class Op>
struct Decode {
  using A = typename Op::Acc;
  using Element = typename Op::Element;
  static constexpr int L = kLanes<A>, E = Op::kPerElement, kRows = 4;
  static constexpr int64_t kLongest = 512, kShortest = 128, kChain = 64;  // keys of a partition
  static constexpr int64_t kEnoughTasks = 16;                             // for the threads of most machines

  const Problem& p;
  int64_t group, queries, length, partitions;  // `length`: keys of a partition, fewer in the last one
  int64_t stride;                              // of its result of one query: maximum, sum, out
  A* scores;                                   // [kRows][kLongest]

  explicit Decode(const Problem& problem)
      : p(problem),
        group(p.H / p.K),
        queries(group * p.T),
        length(partition_length(p)),
        partitions(ceil_div(p.S, length)),
        stride(2 + p.V) {}

  int64_t tasks(int stage) const {
    if (stage == 0) return p.B * p.K * partitions;
    if (stage == 1) return partitions > 1 ? p.B * p.K : 0;
    return p.weights_kind == kNoWeights ? 0 : p.B * (p.weights_kind == kMeanWeights ? 1 : p.K) * partitions;
  }
  size_t shared_bytes() const { return sizeof(A) * tasks(0) * queries * stride; }
  size_t layout(char* base) {
    Scratch s{base};
    scores = s.take<A>(kRows * kLongest);
    return s.used;
  }

  void run(char* shared, int stage, int64_t task) {
    if (stage == 1) return reduce((const A*)shared, task);
    if (stage == 2) return write_weights(task);
    const int64_t kv = task / partitions, j0 = task % partitions * length;
    for (int64_t r = 0; r < queries; r += kRows)
      attend(kv / p.K, kv % p.K, r, int(min(kRows, queries - r)), j0, min(length, p.S - j0),
             (A*)shared + (task * queries + r) * stride);
    if (partitions == 1) reduce((const A*)shared, kv);
  }

 private:
  // As few partitions, of like lengths, as give the threads enough tasks: each costs a reduction.
  static int64_t partition_length(const Problem& p) {
    const int64_t wanted = ceil_div(kEnoughTasks, max(p.B * p.K, int64_t(1)));
    const int64_t partitions = max(ceil_div(p.S, kLongest), min(wanted, p.S / kShortest));
    return round_up(max(ceil_div(p.S, max(partitions, int64_t(1))), int64_t(1)), L);
  }

  // Query r of a head of keys: query r % T of the r / T-th head that reads it.
  int64_t head(int64_t kv_head, int64_t r) const { return kv_head * group + r / p.T; }

  void attend(int64_t b, int64_t kv_head, int64_t r0, int rows, int64_t j0, int64_t n, A* result) {
    const S* v = (const S*)p.v.data + b * p.v.batch + kv_head * p.v.head;
    Range any = {j0 + n, j0};
    bool partial = p.padding || p.mask_kind != kNoMask;
    for (int r = 0; r < rows; r++) {
      A* row = scores + r * kLongest - j0;
      const Range keys = score(b, kv_head, r0 + r, j0, n, kMaskedWeight<A>, row);
      softmax(keys, row, result + r * stride);
      if (keys.begin < keys.end) any = {min(any.begin, keys.begin), max(any.end, keys.end)};
      partial |= keys.begin > j0 || keys.end < j0 + n;
    }
    rows == 1 ? add_rows<1>(rows, partial, any, v, result, j0)
              : add_rows<kRows>(rows, partial, any, v, result, j0);
  }

  // Scores of query r with the visible keys among the n from j0, which it returns; the others get `masked`.
  Range score(int64_t b, int64_t kv_head, int64_t r, int64_t j0, int64_t n, A masked, A* row) const {
    const int64_t h = head(kv_head, r), i = r % p.T;
    const S* q = (const S*)p.q.data + b * p.q.batch + h * p.q.head + i * p.q.row;
    const S* k = (const S*)p.k.data + b * p.k.batch + kv_head * p.k.head;
    const Range visible = visible_to(p, b, i);
    const Range keys = {max(visible.begin, j0), max(min(visible.end, j0 + n), max(visible.begin, j0))};
    for (int64_t j = j0; j < j0 + n; j++) row[j] = masked;
    for (int64_t j = keys.begin; j < keys.end; j += L) dot(q, k, j, min(L, keys.end - j), row + j);
    transform_scores(b, h, i, keys, row);
    return keys;
  }

  // Products with `count` neighbouring keys, at most L.
  void dot(const S* q, const S* k, int64_t j, int64_t count, A* to) const {
    Vec<A> partial[L];
    for (int l = 0; l < L; l++) {
      const S* key = k + (j + min(l, count - 1)) * p.k.row;
      Vec<A> even{}, odd{};
      int64_t f = 0;
      if constexpr (kSame<S, typename Op::Storage>) {  // as elements: pairs, where there are dot products
        for (; f + 2 * E * L <= p.D; f += 2 * E * L) {
          Op::multiply(even, Op::load_b((const Element*)(q + f)), Op::load_b((const Element*)(key + f)));
          Op::multiply(odd, Op::load_b((const Element*)(q + f + E * L)),
                       Op::load_b((const Element*)(key + f + E * L)));
        }
        if (f + E * L <= p.D) {
          Op::multiply(even, Op::load_b((const Element*)(q + f)), Op::load_b((const Element*)(key + f)));
          f += E * L;
        }
      }
      for (; f < p.D; f += L) even += load_n<A>(q + f, p.D - f) * load_n<A>(key + f, p.D - f);
      partial[l] = even + odd;
    }
    store_n(to, horizontal_sums<A>(partial), count);
  }

  void transform_scores(int64_t b, int64_t h, int64_t i, Range keys, A* row) const {
    const ScoreTransform<A> transform(p, b, h);
    const int64_t mask_at = b * p.mask.batch + h * p.mask.head + i * p.mask.query;
    Vec<A> lane;
    for (int l = 0; l < L; l++) lane[l] = A(l);
    for (int64_t j = keys.begin; j < keys.end; j += L) {
      const int64_t n = min(L, keys.end - j);
      const int64_t at = mask_at + j * p.mask.key;
      Vec<A> extra{};
      if (p.mask_kind == kBoolMask) extra = as_bias<A>((const uint8_t*)p.mask.data + at, p.mask.key, n);
      if (p.mask_kind == kFloatMask) extra = as_bias<A>((const S*)p.mask.data + at, p.mask.key, n);
      const Vec<A> distance = A(p.query_start + i - j) - lane;
      store_n(row + j, transform(load_n<A>(row + j, n), distance, extra), n);
      for (int64_t l = 0; p.padding && l < n; l++)
        if (p.padding[b * p.S + j + l]) row[j + l] = kNegInf<A>;
    }
  }

  // scores become weights; their maximum and sum go to the result.
  void softmax(Range keys, A* row, A* result) const {
    Vec<A> lane_max = splat<A>(kNegInf<A>), sums[2] = {};
    int turn = 0;
    for_vectors(keys, [&](int64_t j, int64_t n) {
      const Vec<A> s = n == L ? load<A>(row + j) : padded(row + j, n);
      lane_max = s > lane_max ? s : lane_max;
    });
    A row_max = kNegInf<A>, sum = 0;
    for (int l = 0; l < L; l++) row_max = lane_max[l] > row_max ? lane_max[l] : row_max;
    const A shift = row_max == kNegInf<A> ? A(0) : row_max;
    for_vectors(keys, [&](int64_t j, int64_t n) {
      const Vec<A> s = n == L ? load<A>(row + j) : padded(row + j, n), w = exp_below(s - shift);
      sums[turn ^= 1] += w;
      store_n(row + j, s == kNegInf<A> ? splat<A>(kMaskedWeight<A>) : w, n);
    });
    for (int l = 0; l < L; l++) sum += sums[0][l] + sums[1][l];
    result[0] = row_max, result[1] = sum;
  }
  template <class F>
  static void for_vectors(Range keys, F f) {
    int64_t j = keys.begin;
    for (; j + L <= keys.end; j += L) f(j, L);
    if (j < keys.end) f(j, keys.end - j);
  }
  static Vec<A> padded(const A* row, int64_t n) {
    Vec<A> s = splat<A>(kNegInf<A>);
    for (int l = 0; l < n && l < L; l++) s[l] = row[l];
    return s;
  }

  // Sums of value rows, of kChain at a time, for up to R queries. With kPartial some keys are masked for some
  // queries, and may hold no numbers.
  template <int R>
  void add_rows(int rows, bool partial, Range keys, const S* v, A* result, int64_t j0) const {
    constexpr int kVectors = R == 1 || kRegisters == 32 ? 4 : 2;  // R times as many sums stay in registers
    for (int64_t f = 0; f < p.V; f += kVectors * L)
      with_vectors<kVectors>(int(min(int64_t(kVectors), ceil_div(p.V - f, L))), [&](auto nv) {
        constexpr int NV = decltype(nv)::value;
        if (partial)
          this->template add_rows<R, NV, true>(rows, keys, v, f, result, j0);
        else
          this->template add_rows<R, NV, false>(rows, keys, v, f, result, j0);
      });
  }
  template <int R, int NV, bool kPartial>
  void add_rows(int rows, Range keys, const S* v, int64_t f, A* result, int64_t j0) const {
    const bool whole = f + NV * L <= p.V;
    int64_t j = keys.begin;
    do {
      const bool first = j == keys.begin;
      Vec<A> sum[R][NV] = {};
      for (const int64_t end = min(j + kChain, keys.end); j < end; j++) {
        Vec<A> x[NV];
        const S* row = v + j * p.v.row + f;
        for (int i = 0; i < NV; i++)
          x[i] = whole || i + 1 < NV ? load<A>(row + i * L) : load_n<A>(row + i * L, (p.V - f) % L);
        for (int r = 0; r < R; r++) {
          const A w = R == 1 || r < rows ? scores[r * kLongest + j - j0] : kMaskedWeight<A>;
          if (kPartial && w == 0 && __builtin_signbit(w)) continue;
          for (int i = 0; i < NV; i++) sum[r][i] += x[i] * w;
        }
      }
      for (int r = 0; r < rows; r++)
        for (int i = 0; i < NV; i++) {
          A* to = result + r * stride + 2 + f + i * L;
          const int64_t n = p.V - f - i * L;
          store_n(to, first ? sum[r][i] : load_n<A>(to, n) + sum[r][i], n);
        }
    } while (j < keys.end);
  }

  void reduce(const A* shared, int64_t kv) const {
    const int64_t b = kv / p.K, kv_head = kv % p.K;
    for (int64_t r = 0; r < queries; r++) {
      const A* first = shared + (kv * partitions * queries + r) * stride;
      A row_max = kNegInf<A>, sum = 0, sum_error = 0;
      for (int64_t c = 0; c < partitions; c++) {
        const A m = first[c * queries * stride];
        row_max = m > row_max ? m : row_max;
      }
      const int64_t h = head(kv_head, r), i = r % p.T;
      S* out = (S*)p.out.data + b * p.out.batch + h * p.out.head + i * p.out.row;
      auto factor = [&](int64_t c) {
        const A m = first[c * queries * stride];
        return m == kNegInf<A> ? A(0) : exp_below(splat<A>(m - row_max))[0];
      };
      for (int64_t c = 0; c < partitions; c++) {
        const A part = first[c * queries * stride + 1];  // 0, or no number, where the maximum is -infinity
        add_exactly(sum, sum_error, part == 0 ? A(0) : part == part ? factor(c) * part : part);
      }
      sum = with_error(sum, sum_error);
      for (int64_t f = 0; f < p.V; f += L) {
        Vec<A> total{}, error{};
        for (int64_t c = 0; c < partitions; c++)
          add_exactly(total, error, load_n<A>(first + c * queries * stride + 2 + f, p.V - f) * factor(c));
        store_n(out + f, sum == 0 ? Vec<A>{} : with_error(total, error) / sum, p.V - f);
      }
      if (p.statistics) {
        A* to = statistics(b, h, i);
        to[0] = row_max, to[p.T] = sum;
      }
    }
  }

  // A partition of the weights, from the statistics of `reduce`: of all heads that share keys, or their mean
  // over all. The scores are made again as they were made there: rounded in another way, large ones would
  // have weights that do not sum to 1.
  void write_weights(int64_t task) const {
    const bool mean = p.weights_kind == kMeanWeights;
    const int64_t heads = mean ? 1 : p.K, b = task / partitions / heads, one = task / partitions % heads;
    const int64_t j0 = task % partitions * length, n = min(length, p.S - j0);
    S* to = (S*)p.weights.data + b * p.weights.batch + j0;
    A *row = scores, *sum = scores + kLongest;
    for (int64_t i = 0; i < p.T; i++, to += p.weights.query) {
      for (int64_t j = 0; j < n; j++) sum[j] = 0;
      for (int64_t h = mean ? 0 : one * group; h < (mean ? p.H : (one + 1) * group); h++) {
        weights_of(b, h, i, j0, n, row);
        for_vectors({0, n}, [&](int64_t j, int64_t count) {
          const Vec<A> w = load_n<A>(row + j, count);
          if (mean)
            store_n(sum + j, load_n<A>(sum + j, count) + w, count);
          else
            store_n(to + h * p.weights.head + j, w, count);
        });
      }
      if (mean)
        for_vectors({0, n}, [&](int64_t j, int64_t count) {
          store_n(to + j, load_n<A>(sum + j, count) * (A(1) / A(p.H)), count);
        });
    }
  }
  void weights_of(int64_t b, int64_t h, int64_t i, int64_t j0, int64_t n, A* row) const {
    const Range keys = score(b, h / group, h % group * p.T + i, j0, n, A(0), row - j0);
    const A *found = statistics(b, h, i), sum = found[p.T];
    const Vec<A> shift = splat<A>(sum == 0 ? A(0) : found[0]), inverse = splat<A>(sum == 0 ? A(0) : 1 / sum);
    for_vectors({keys.begin - j0, keys.end - j0}, [&](int64_t j, int64_t count) {
      store_n(row + j, weight_of<A>(load_n<A>(row + j, count), shift, inverse), count);
    });
  }

  A* statistics(int64_t b, int64_t h, int64_t i) const {
    return (A*)p.statistics + (b * p.H + h) * 2 * p.T + i;
  }
};

}  // namespace
}  // namespace pyrnn::attention
