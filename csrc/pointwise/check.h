// What must hold of a problem before a kernel, of either kind of device, may read it.
#pragma once
#include <stdexcept>
#include <string>

#include "pointwise/problem.h"

namespace pyrnn::pointwise {

inline void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("pyrnn: ") + what);
}

inline void require_probability(double p) { require(p >= 0 && p <= 1, "a probability outside [0, 1]"); }
inline void require_storage(bool all) { require(all, "tensor without storage"); }

inline void check(const DropoutProblem& p) {
  require(p.activation >= 0 && p.activation < kActivations, "unknown activation");
  require_probability(p.p);
}
inline void check_forward(const DropoutProblem& p) { require_storage(p.count == 0 || (p.x && p.out)); }
inline void check_backward(const DropoutProblem& p) {
  require_storage(p.count == 0 || ((p.x || p.activation == kIdentity) && p.other && p.out));
}

inline void check(const ResidualNormProblem& p) {
  require(p.rows > 0 && p.features > 0 && p.slices > 0, "no rows, features or slices");
  require_probability(p.p);
}
inline void check_forward(const ResidualNormProblem& p) {
  require_storage(p.x && p.residual && p.out && p.summed && p.mean && p.rstd);
}
inline void check_backward(const ResidualNormProblem& p) {
  require_storage(p.g && p.summed && p.mean && p.rstd && (p.partial || (!p.d_weight && !p.d_bias)));
}

inline void check(const RotaryProblem& p) {
  require(p.size0 > 0 && p.size1 > 0 && p.size2 > 0 && p.features > 0, "no rows or features");
  require(p.turned >= 0 && p.turned % 2 == 0 && p.turned <= p.features, "pairs beyond the features");
  require_storage(p.x && p.out && (p.table || !p.turned));
}

}  // namespace pyrnn::pointwise
