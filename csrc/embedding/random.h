// Random numbers and random orders that are functions of a seed.
#pragma once
#include <stdint.h>

#include <utility>

namespace pyrnn::embedding {

// A bijection of 64-bit words whose values look random (Stafford's variant 13 of the finaliser of
// MurmurHash3, as Steele, Lea and Flood use it in Fast Splittable Pseudorandom Number Generators, OOPSLA
// 2014).
constexpr uint64_t kMix1 = 0xbf58476d1ce4e5b9u, kMix2 = 0x94d049bb133111ebu;

inline uint64_t scramble(uint64_t x) {
  x = (x ^ (x >> 30)) * kMix1;
  x = (x ^ (x >> 27)) * kMix2;
  return x ^ (x >> 31);
}

// 1 / x modulo 2^64, of an odd x: each step doubles the number of right bits, of which x itself has three.
constexpr uint64_t inverse(uint64_t x) {
  uint64_t y = x;
  for (int step = 0; step < 5; step++) y *= 2 - x * y;
  return y;
}

inline uint64_t unscramble(uint64_t x) {
  constexpr uint64_t kInverse1 = inverse(kMix1), kInverse2 = inverse(kMix2);
  x = (x ^ (x >> 31) ^ (x >> 62)) * kInverse2;
  x = (x ^ (x >> 27) ^ (x >> 54)) * kInverse1;
  return x ^ (x >> 30) ^ (x >> 60);
}

// SplitMix64, of the same paper.
class Random {
 public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next() { return scramble(state += 0x9e3779b97f4a7c15u); }
  // In [0, n), n below 2^32; the bias is below n / 2^32 (Lemire, 2019, without the rejections).
  uint64_t below(uint64_t n) { return ((next() >> 32) * n) >> 32; }

 private:
  uint64_t state;
};

// Fisher and Yates.
template <class T>
void shuffle(T* items, int64_t count, uint64_t seed) {
  Random random(seed);
  for (int64_t n = count; n > 1; n--) std::swap(items[n - 1], items[random.below(uint64_t(n))]);
}

}  // namespace pyrnn::embedding
