// A part of a text: its sentences are thinned out, its windows drawn, and the predictions made, each a few
// others behind its own draw, so that its rows have come from memory meanwhile.
#pragma once
#include "common/philox.h"
#include "embedding/cpu/step.h"

namespace pyrnn::embedding {
namespace {

// Uniform words: those of the counters (n, stream, epoch), in order.
class Stream {
 public:
  Stream(int64_t seed, int64_t stream, int64_t epoch)
      : key{uint32_t(seed), uint32_t(seed >> 32)},
        counter{uint32_t(stream), uint32_t(stream >> 32), uint32_t(epoch)} {}

  uint32_t next() {
    if (at == kPhiloxWords) refill();
    return words[at++];
  }
  // In [0, n); the bias is below n / 2^32.
  int64_t below(int64_t n) { return int64_t(uint64_t(next()) * uint64_t(n) >> 32); }

 private:
  void refill() {
    u32_vec drawn[2];
    philox_row(block, counter[0], counter[1], counter[2], key[0], key[1], drawn);
    *(u32_vec*)words = drawn[0];
    *(u32_vec*)(words + kPhiloxWords / 2) = drawn[1];
    block += kPhiloxWords / 4, at = 0;
  }

  alignas(kVectorBytes) uint32_t words[kPhiloxWords];
  uint32_t key[2], counter[3], block = 0;
  int at = kPhiloxWords;
};

// A prediction, or those of a window, that waits for its rows.
struct Waiting {
  int64_t rows, C, K;  // rows: of the mean that is the only input, 0: C inputs of one row each
  float rate;
  int32_t *inputs, *targets;
  float* signs;
};

class Word2Vec {
 public:
  Word2Vec(const Word2VecProblem& problem, const Word2VecScratch& memory, int64_t stream,
           int64_t first_fetched)
      : p(problem), scratch(memory), random(p.seed, stream, p.epoch), fetched(first_fetched) {
    for (int i = 0; i < kAhead; i++) {
      float* signs = scratch.signs + i * signs_size(p);
      waiting[i] = {0, 0, 0, 0, scratch.rows + i * rows_size(p), scratch.targets + i * p.most_targets, signs};
      // Of negative sampling: one target is the word. Hierarchical softmax writes its own.
      for (int64_t s = 0; s < signs_size(p); s++) signs[s] = 0;
    }
  }

  Word2VecSums run(int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      rate = float(p.rate + (p.last_rate - p.rate) * (double(i) / double(p.count)));
      int64_t length = 0;
      for (; i < end && p.ids[i] != p.V; i++) {
        const int32_t word = p.ids[i];
        if (!p.keep || p.keep[word] == 0xffffffffu || random.next() < p.keep[word])
          scratch.sentence[length++] = word;
      }
      sums.words += length;
      for (int64_t place = 0; length > 1 && place < length; place++) window(place, length);
    }
    while (made < drawn) make(waiting[made++ % kAhead]);
    loss.flush();
    sums.loss = loss.total;
    return sums;
  }

 private:
  void window(int64_t place, int64_t length) {
    const int64_t size = p.shrink ? p.window - random.below(p.window) : p.window;
    const int64_t begin = place > size ? place - size : 0,
                  end = place + size < length ? place + size + 1 : length;
    const int32_t word = scratch.sentence[place];
    if (p.cbow) {
      Waiting& next = draw(word);
      for (int64_t other = begin; other < end; other++)
        if (other != place) add_rows(next, scratch.sentence[other]);
      return push(next);
    }
    const Waiting* first = nullptr;
    for (int64_t other = begin; other < end;) {
      if (other == place) {
        other++;
        continue;
      }
      Waiting& next = p.batched && first ? same_targets(*first) : draw(word);
      first = &next;
      if (p.bag_begin) {
        add_rows(next, scratch.sentence[other++]);
      } else {
        const int64_t most = p.batched ? kGroup : 1;
        for (; other < end && next.C < most; other++)
          if (other != place) next.inputs[next.C++] = scratch.sentence[other];
      }
      push(next);
    }
  }

  // ---- what is drawn

  Waiting& draw(int32_t word) {
    Waiting& next = waiting[drawn % kAhead];
    next.rows = next.C = 0;
    if (p.noise) {
      next.K = 1;
      next.targets[0] = word;
      for (int64_t n = 0; n < p.negatives; n++) {
        const int64_t column = random.below(p.V);
        const AliasColumn& noise = p.noise[column];
        const int32_t other = random.next() < noise.threshold ? int32_t(column) : noise.other;
        next.targets[next.K] = other;
        next.K += other != word;
      }
    } else {
      const int64_t begin = p.path_begin[word];
      next.K = p.path_begin[word + 1] - begin;
      for (int64_t t = 0; t < next.K; t++) next.targets[t] = p.path_nodes[begin + t];
      path = p.path_signs + begin;
    }
    return next;
  }

  Waiting& same_targets(const Waiting& other) {
    Waiting& next = waiting[drawn % kAhead];
    next.rows = next.C = 0;
    next.K = other.K;
    for (int64_t t = 0; t < next.K; t++) next.targets[t] = other.targets[t];
    return next;
  }

  void add_rows(Waiting& next, int32_t word) {
    next.C = 1;
    if (!p.bag_begin) {
      next.inputs[next.rows++] = word;
      return;
    }
    for (int64_t i = p.bag_begin[word]; i < p.bag_begin[word + 1]; i++)
      next.inputs[next.rows++] = p.bag_rows[i];
  }

  void push(Waiting& next) {
    // Signs of [C][pitch], those of no target zero.
    float* signs = next.signs;
    next.rate = rate;
    const int64_t pitch = (next.K + 3) / 4 * 4;
    for (int64_t c = 0; c < next.C; c++)
      for (int64_t t = 0; t < pitch; t++)
        signs[c * pitch + t] = t >= next.K ? 0.0f : p.noise ? (t ? -1.0f : 1.0f) : path[t];
    if (fetched >= 0) {
      for (int64_t i = 0; i < (next.rows ? next.rows : next.C); i++) fetch(p.input, next.inputs[i]);
      for (int64_t t = 0; t < next.K; t++) fetch(p.output, next.targets[t]);
    }
    if (++drawn - made == kAhead) make(waiting[made++ % kAhead]);
  }

  void fetch(const float* matrix, int32_t row) const {
    if (row < fetched) return;
    const char* begin = (const char*)(matrix + row * p.S);
    for (int64_t byte = 0; byte < p.S * 4; byte += 64) __builtin_prefetch(begin + byte, 1);
  }

  // ---- what is made of it

  void make(const Waiting& next) {
    float *mean = scratch.vectors, *change = scratch.vectors + p.S, *x[kGroup], *u[kMostTargets];
    const int64_t pitch = (next.K + 3) / 4 * 4;
    for (int64_t t = 0; t < next.K; t++) u[t] = p.output + next.targets[t] * p.S;
    for (int64_t c = 0; c < next.C; c++) x[c] = next.rows ? mean : p.input + next.inputs[c] * p.S;
    if (next.rows) average(next, mean);
    dots(x, u, p.S, scratch.scores, pitch, next.C, next.K);
    slopes(scratch.scores, next.signs, next.C * pitch, next.rate, loss);
    sums.predictions += next.C;
    if (!p.updates) return;
    if (next.C > 1) return update(x, u, p.S, scratch.scores, pitch, next.C, next.K);
    if (!next.rows && next.K <= 8) return update_one<false>(x[0], x[0], u, p.S, scratch.scores, next.K);
    update_one<true>(x[0], change, u, p.S, scratch.scores, next.K);
    for (int64_t i = 0; i < (next.rows ? next.rows : 1); i++) {
      float* row = p.input + next.inputs[i] * p.S;
      for (int64_t d = 0; d < p.S; d += kLane) store(row + d, load(row + d) + load(change + d));
    }
  }

  void average(const Waiting& next, float* mean) const {
    const float share = 1.0f / float(next.rows);
    for (int64_t d = 0; d < p.S; d += kLane) {
      V sum = {};
      for (int64_t i = 0; i < next.rows; i++) sum += load(p.input + next.inputs[i] * p.S + d);
      store(mean + d, sum * share);
    }
  }

  const Word2VecProblem& p;
  const Word2VecScratch& scratch;
  Stream random;
  const int64_t fetched;
  Waiting waiting[kAhead];
  int64_t drawn = 0, made = 0;
  const float* path = nullptr;
  float rate = 0;
  LossSum loss;
  Word2VecSums sums = {0, 0, 0};
};

Word2VecSums word2vec(const Word2VecProblem& p, const Word2VecScratch& scratch, int64_t begin, int64_t end,
                      int64_t stream, int64_t fetched) {
  return Word2Vec(p, scratch, stream, fetched).run(begin, end);
}

}  // namespace
}  // namespace pyrnn::embedding
