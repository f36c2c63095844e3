// The two passes of a differentiable operator.
#pragma once

namespace pyrnn {

enum class Pass { forward, backward };

}  // namespace pyrnn
