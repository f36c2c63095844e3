// The path of the highest score of one row; of equal ones that with the lower tag at the last step where they
// differ. C^2 additions and comparisons a step, and C places of memory to trace the path back.
#pragma once
#include "crf/cpu/log_sums.h"

namespace pyrnn::crf {
namespace {

template <class S>
struct Viterbi {
  using A = typename LogSums<S>::A;
  using Places = typename VecTypes<A>::mask;  // as wide as scores are
  using Place = __typeof__(Places{}[0] + 0);
  static constexpr int L = kLanes<A>;

  const Problem& p;
  int64_t length, stride;
  A *scores, *next;
  Place* back;  // [length][stride] the tag before

  Viterbi(const Problem& problem, int64_t steps) : p(problem), length(steps), stride(round_up(p.C, L)) {}

  size_t scratch(char* base) {
    Scratch s{base};
    scores = s.take<A>(stride), next = s.take<A>(stride);
    back = s.take<Place>(length * stride);
    return s.used;
  }

  void run(int64_t b) {
    int64_t* tags = p.tags + b;
    A& score = ((A*)p.scores)[b];
    if (!length) {
      score = 0;
      return;
    }
    for (int64_t t = 0; t < length; t++) {
      step(t, (const S*)p.emissions + t * p.stride_t + b * p.stride_b);
      A* swap = scores;
      scores = next, next = swap;
    }
    int64_t best = 0;
    for (int64_t j = 0; j < p.C; j++) {
      if (p.end) scores[j] += number<A>((const S*)p.end + j);
      if (scores[j] > scores[best]) best = j;
    }
    score = scores[best];
    for (int64_t t = length - 1; t >= 0; t--) {
      tags[t * p.B] = best;
      best = back[t * stride + best];
    }
  }

 private:
  // From `scores` to `next`.
  void step(int64_t t, const S* emissions) const {
    const S* M = (const S*)p.transitions;
    for (int64_t j = 0; j < p.C; j += L) {
      const int64_t left = p.C - j;
      Vec<A> best = p.start && t == 0 ? load_n<A>((const S*)p.start + j, left) : Vec<A>{};
      Places places{};
      for (int64_t i = 0; t > 0 && i < p.C; i++) {
        const Vec<A> score = splat(scores[i]) + load_n<A>(M + i * p.C + j, left);
        const Places better = i ? (Places)(score > best) : ~Places{};
        best = better ? score : best;
        places = better ? Places{} + Place(i) : places;
      }
      store(next + j, best + load_n<A>(emissions + j, left));
      __builtin_memcpy(back + t * stride + j, &places, sizeof places);
    }
  }
};

}  // namespace
}  // namespace pyrnn::crf
