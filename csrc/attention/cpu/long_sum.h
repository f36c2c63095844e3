// Sums over many blocks of keys whose rounding does not grow with their number.
//
// One chain of float32 additions over all blocks errs by about sqrt(blocks) units in the last place, by more
// where the terms are alike. So products are added up in short chains, and these in a total that keeps what
// each addition rounded away (Knuth's two-sum).
#pragma once
#include "common/scratch.h"
#include "common/vec.h"

namespace pyrnn::attention {
namespace {

// sum += term, with the rounding of that addition added to `error`.
template <class V>
inline void add_exactly(V& sum, V& error, V term) {
  const V total = sum + term, added = total - sum;
  error += (sum - (total - added)) + (term - added);
  sum = total;
}

// The sum at last. Of an infinite one the error is no number, and without meaning.
template <class V>
inline V with_error(V sum, V error) {
  return sum + (error == error ? error : V{});
}

// [count] numbers that grow block by block.
template <class A>
struct LongSum {
  static constexpr int64_t kChainKeys = 1024;

  int64_t count, keys;  // in the chain so far
  bool has_total;
  A *chain, *total, *error;  // `chain` is what products are added to; then what `finish` leaves

  void layout(Scratch& s, int64_t max_count, int64_t max_keys) {
    const int64_t of_total = max_keys > kChainKeys ? max_count : 0;
    chain = s.take<A>(max_count), total = s.take<A>(of_total), error = s.take<A>(of_total);
  }
  void clear(int64_t numbers) {
    count = numbers, keys = 0, has_total = false;
    clear_chain();
  }
  // Before the products of so many keys (at most kChainKeys) are added to the chain.
  void make_room(int64_t more) {
    if (keys + more > kChainKeys) end_chain();
    keys += more;
  }
  // Column i of W, a vector each of NV, times factor[i].
  template <int NV>
  void rescale(const Vec<A>* factor) {
    scale_columns<NV>(chain, factor);
    if (has_total) scale_columns<NV>(total, factor), scale_columns<NV>(error, factor);
  }
  void finish() {
    if (!has_total) return;
    end_chain();
    for (int64_t i = 0; i < count; i += kLanes<A>)
      store(chain + i, with_error(load<A>(total + i), load<A>(error + i)));
  }

 private:
  void clear_chain() {
    for (int64_t i = 0; i < count; i += kLanes<A>) store(chain + i, Vec<A>{});
  }
  void end_chain() {
    for (int64_t i = 0; i < count; i += kLanes<A>) {
      Vec<A> sum{}, rounded{};
      if (has_total) sum = load<A>(total + i), rounded = load<A>(error + i);
      add_exactly(sum, rounded, load<A>(chain + i));
      store(total + i, sum), store(error + i, rounded);
    }
    has_total = true, keys = 0;
    clear_chain();
  }
  template <int NV>
  void scale_columns(A* block, const Vec<A>* factor) {
    constexpr int L = kLanes<A>;
    for (int64_t at = 0; at < count; at += NV * L)
      for (int i = 0; i < NV; i++) store(block + at + i * L, load<A>(block + at + i * L) * factor[i]);
  }
};

}  // namespace
}  // namespace pyrnn::attention
