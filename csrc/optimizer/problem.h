// One step of AdamW over all parameters, the gradient clipped by its norm on the way in:
//
//   g <- s g                                 s = min(1, clip / (norm + 1e-6)) / grad_scale, or -s to maximise
//   m <- m + (1 - beta1) (g - m)             v <- beta2 v + (1 - beta2) g^2
//   p <- (1 - lr decay) p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// The norm is one read of the gradients, the update one read of gradient, parameter and moments and one write
// of the latter three. Both are cut into tasks by the sizes alone, and the sums of tasks are added in order:
// the bits depend on no number of threads.
#pragma once
#include <stdint.h>

#include "common/dtype.h"

namespace pyrnn::optimizer {

struct Settings {
  double lr, beta1, beta2, eps, decay;
  bool maximize;
};

struct Parameter {
  int dtype;
  int64_t count;
  void* value;  // S [count], as the others
  const void* grad;
  void *moment, *square;  // m and v
  double step;            // t, this step included
  const Settings* settings;
};

// What a step does to each number of a parameter.
struct Update {
  double scale, keep;                            // s; 1 - lr decay
  double moment_rate, square_keep, square_rate;  // 1 - beta1, beta2, 1 - beta2
  double rate, square_scale, eps;                // lr / (1 - beta1^t); 1 / sqrt(1 - beta2^t)
};

constexpr int64_t kTask = 1 << 14;  // numbers

// One storage type and instruction set: numbers [begin, end).
struct Kernels {
  double (*squares)(const Parameter&, int64_t begin, int64_t end);
  void (*update)(const Parameter&, const Update&, int64_t begin, int64_t end);
};

}  // namespace pyrnn::optimizer
