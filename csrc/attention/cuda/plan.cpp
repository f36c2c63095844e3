#include "attention/cuda/plan.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <stdexcept>

#include "attention/cuda/tensor_tiles.h"
#include "common/integers.h"

namespace pyrnn::attention::cuda {
namespace {

constexpr size_t aligned(size_t bytes) { return size_t(round_up(int64_t(bytes), 16)); }

constexpr int64_t kFewRows = 16;  // one warp has them all

[[noreturn]] void refuse_features(int most, int64_t features) {
  throw std::invalid_argument("pyrnn: CUDA attention of this dtype takes at most " + std::to_string(most) +
                              " features, got " + std::to_string(features));
}

const ForwardKernel& choose_forward(const Problem& p, int64_t rows) {
  const auto& kernels = cuda_kernels(p.dtype).forward;
  const int64_t features = std::max(p.D, p.V);
  const bool plain = is_plain(p), few = rows <= kFewRows;
  for (const bool fits_rows : {true, false})
    for (const ForwardKernel& kernel : kernels) {
      if (kernel.features < features || (kernel.plain && !plain)) continue;
      if (!fits_rows || (kernel.rows <= kFewRows) == few) return kernel;
    }
  refuse_features(kernels.end()[-1].features, features);
}

const KernelList<ForwardKernel> hopper_kernels(int64_t dtype) {
#ifdef PYRNN_HOPPER
  if (dtype == kBfloat16) return pyrnn_cuda_attention_hopper_bfloat16;
  if (dtype == kFloat16) return pyrnn_cuda_attention_hopper_float16;
#endif
  (void)dtype;
  return {nullptr, 0};
}

// The kernel of 9.0a for a call, or null and in `why` the reason.
const ForwardKernel* choose_hopper(const Problem& p, const Device& device, int64_t rows, std::string& why) {
  const auto refuse = [&why](const std::string& reason) {
    why = reason;
    return nullptr;
  };
  const int64_t features = std::max(p.D, p.V);
  const bool plain = is_plain(p);
  if (p.dtype != kBfloat16 && p.dtype != kFloat16) return refuse("numbers are not of 16 bits");
  const KernelList<ForwardKernel> kernels = hopper_kernels(p.dtype);
  if (kernels.count == 0) return refuse("this build is not for 9.0a");
  if (device.major != 9 || device.minor != 0)
    return refuse("the device is of compute capability " + std::to_string(device.major) + "." +
                  std::to_string(device.minor));
  if (rows <= kFewRows) return refuse("a warp has all queries of a head of the keys");
  if (p.mask_kind == kFloatMask)
    return refuse("beside large numbers in a mask the backward pass must find the very same scores");
  for (const ForwardKernel& kernel : kernels) {
    if (kernel.features < features || (kernel.plain && !plain)) continue;
    why = why_no_tensor_tiles(p, kernel.rows, kernel.steps);
    return why.empty() ? &kernel : nullptr;
  }
  return refuse("heads have " + std::to_string(features) + " features, more than " +
                std::to_string(kernels.end()[-1].features));
}

// Heads of the keys whose keys and values half of the second-level cache holds.
int64_t choose_section(const Problem& p, const Device& device) {
  const int64_t of_head = std::max<int64_t>(1, p.S * (p.D + p.V) * 2);
  return std::min(p.B * p.K, std::max<int64_t>(1, device.l2_bytes / 2 / of_head));
}

// The first kernel that computes some of the gradients that are wanted.
const BackwardKernel& choose_backward(const Problem& p, const KernelList<BackwardKernel>& kernels, bool d_q,
                                      bool d_k, bool d_v) {
  const int64_t features = std::max(p.D, p.V);
  const bool plain = is_plain(p) && !p.g_weights.data;
  for (const BackwardKernel& kernel : kernels) {
    if (kernel.features < features || (kernel.plain && !plain)) continue;
    if ((kernel.d_q && d_q) || (kernel.d_k && d_k) || (kernel.d_v && d_v)) return kernel;
  }
  refuse_features(kernels.end()[-1].features, features);
}

// Asked once for each kernel: devices of one process are alike enough to split work.
template <class Kernel>
int blocks_per_sm(const Kernel& kernel) {
  static std::map<const Kernel*, int> known;
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  int& blocks = known[&kernel];
  if (blocks == 0) blocks = kernel.blocks_per_sm();
  return std::max(1, blocks);
}

// In how many parts `length` rows of the other side of the scores are split, so that `blocks` of a kernel
// fill the device.
template <class Kernel>
int64_t choose_splits(const Kernel& kernel, const Device& device, int64_t blocks, int64_t length) {
  const int64_t at_once = int64_t(device.sms) * blocks_per_sm(kernel);
  const int64_t most = std::max<int64_t>(1, length / (kTilesOfSplit * kernel.steps));
  const int64_t splits = blocks >= at_once ? 1 : std::min(most, at_once / blocks);
  if (blocks * splits > INT32_MAX)
    throw std::invalid_argument("pyrnn: attention of " + std::to_string(blocks) +
                                " blocks, a launch has 2^31 - 1");
  return splits;
}

// Keys that `queries` neighbouring queries see at most: a window is less than all.
int64_t keys_of_queries(const Problem& p, int64_t queries) {
  const bool ends = p.causal || p.window_right >= 0;
  if (p.window_left < 0 || !ends || p.window_left >= p.S || p.window_right >= p.S) return p.S;
  const int64_t right = p.window_right < 0 ? 0 : p.causal ? 0 : p.window_right;
  return std::min(p.S, p.window_left + queries + right);
}

// How many rows of queries each head of the keys has.
int64_t rows_of(const Problem& p) {
  if (p.B < 1 || p.K < 1 || p.T < 1 || p.S < 1 || p.H % p.K != 0)
    throw std::invalid_argument("pyrnn: empty problem of attention");
  const int64_t rows = p.T * (p.H / p.K);
  if (rows > kMostPlaces || p.S > kMostPlaces)
    throw std::invalid_argument("pyrnn: attention with more than 2^30 queries or keys of one head");
  return rows;
}

template <class Set>
const Set& of_dtype(const Set* const (&sets)[kDTypes], int64_t dtype) {
  if (dtype < 0 || dtype >= kDTypes) throw std::invalid_argument("pyrnn: unknown dtype");
  return *sets[dtype];
}

// What the gradient of a mask that is broadcast may take beside its result, if that brings blocks for a
// device.
constexpr size_t kMostMaskBytes = 64 << 20;
constexpr int64_t kBlocksOfSm = 2;

PairPlan plan_pairs(const Problem& p, const PairKernel* kernels, int count) {
  PairPlan plan{};
  for (int i = 0; i < count && !plan.kernel; i++)
    if (kernels[i].features >= std::max(p.D, p.V)) plan.kernel = &kernels[i];
  if (!plan.kernel) throw std::invalid_argument("pyrnn: CUDA attention does not take so many features");
  plan.query_tiles = ceil_div(p.T, plan.kernel->rows);
  plan.key_tiles = ceil_div(p.S, plan.kernel->keys);
  return plan;
}

PairPlan checked(const PairPlan& plan) {
  if (plan.blocks > INT32_MAX)
    throw std::invalid_argument("pyrnn: attention of " + std::to_string(plan.blocks) +
                                " blocks, a launch has 2^31 - 1");
  return plan;
}

}  // namespace

const KernelSet& cuda_kernels(int64_t dtype) {
  static const KernelSet* const sets[kDTypes] = {
      &pyrnn_cuda_attention_float32, &pyrnn_cuda_attention_bfloat16, &pyrnn_cuda_attention_float64,
      &pyrnn_cuda_attention_float16};
  return of_dtype(sets, dtype);
}

const BackwardKernelSet& cuda_backward_kernels(int64_t dtype) {
  static const BackwardKernelSet* const sets[kDTypes] = {
      &pyrnn_cuda_attention_backward_float32, &pyrnn_cuda_attention_backward_bfloat16,
      &pyrnn_cuda_attention_backward_float64, &pyrnn_cuda_attention_backward_float16};
  return of_dtype(sets, dtype);
}

const PairKernelSet& cuda_pair_kernels(int64_t dtype) {
  static const PairKernelSet* const sets[kDTypes] = {
      &pyrnn_cuda_attention_pairs_float32, &pyrnn_cuda_attention_pairs_bfloat16,
      &pyrnn_cuda_attention_pairs_float64, &pyrnn_cuda_attention_pairs_float16};
  return of_dtype(sets, dtype);
}

bool is_plain(const Problem& p) {
  return p.mask_kind == kNoMask && !p.padding && !p.slopes && p.softcap == 0 && p.dropout == 0;
}

ForwardPlan plan_forward(const Problem& p, const Device& device, Generation generation) {
  const int64_t rows = rows_of(p);
  std::string why_not = "another kernel was asked for";
  ForwardPlan plan{};
  if (generation != kAmpere) plan.kernel = choose_hopper(p, device, rows, why_not);
  if (generation == kHopper && !plan.kernel)
    throw std::invalid_argument("pyrnn: attention's kernel of 9.0a does not take this call: " + why_not);
  plan.generation = plan.kernel ? kHopper : kAmpere;
  if (!plan.kernel) plan.kernel = &choose_forward(p, rows);
  plan.row_tiles = ceil_div(rows, plan.kernel->rows);
  const int64_t blocks = p.B * p.K * plan.row_tiles;
  const int64_t queries = ceil_div(plan.kernel->rows, p.H / p.K);
  plan.splits = choose_splits(*plan.kernel, device, blocks, keys_of_queries(p, queries));
  plan.section = 1, plan.blocks = blocks * plan.splits;
  if (plan.generation == kHopper) {
    plan.section = choose_section(p, device);
    plan.blocks = std::min(plan.blocks, int64_t(device.sms) * blocks_per_sm(*plan.kernel));
    plan.why = "the kernel of 9.0a, " + std::to_string(plan.blocks) + " blocks that stay; ";
  } else {
    plan.why = "the kernel of 8.0, for " + why_not + "; ";
  }
  if (plan.splits == 1) {
    plan.why += std::to_string(blocks) + " tiles of queries";
  } else {
    plan.scratch_bytes = size_t(plan.splits * p.B * p.K * rows * (p.V + 2)) * cuda_kernels(p.dtype).sum;
    plan.why += std::to_string(blocks) +
                " tiles of queries would not fill the device: " + std::to_string(plan.splits) +
                " blocks share the keys of each";
  }
  return plan;
}

BackwardPlan plan_backward(const Problem& p, const MaskSizes& mask, const Device& device) {
  const int64_t rows = rows_of(p);
  const BackwardKernelSet& set = cuda_backward_kernels(p.dtype);
  BackwardPlan plan{};
  plan.queries_bytes = aligned(size_t(p.B * p.K * rows) * set.query);
  if (p.g_weights.data) plan.delta_of_weights = &choose_backward(p, set.delta_of_weights, true, false, false);
  bool d_q = p.d_q.data, d_k = p.d_k.data, d_v = p.d_v.data;
  plan.mask = mask;
  if (p.d_mask) plan.of_mask = plan_mask_gradient(p, mask, device);
  size_t partial_bytes = plan.of_mask.scratch_bytes;
  while (d_q || d_k || d_v) {
    const BackwardKernel& kernel = choose_backward(p, set.gradients, d_q, d_k, d_v);
    GradientStep step{&kernel, kernel.d_q && d_q, kernel.d_k && d_k, kernel.d_v && d_v, 0, 0, 0, 0};
    d_q = d_q && !step.d_q, d_k = d_k && !step.d_k, d_v = d_v && !step.d_v;
    step.tiles = ceil_div(step.d_q ? rows : p.S, kernel.rows);
    const int64_t blocks = p.B * p.K * step.tiles;
    step.splits = choose_splits(kernel, device, blocks, step.d_q ? p.S : rows);
    step.blocks = blocks * step.splits;
    if (step.splits > 1) {
      const int64_t pairs = step.splits * p.B * p.K, of_first = step.d_q ? rows * p.D : step.d_k * p.S * p.D;
      step.d_v_at = aligned(size_t(pairs * of_first) * set.sum);  // they are stored two at a time
      partial_bytes = std::max(partial_bytes, step.d_v_at + size_t(pairs * step.d_v * p.S * p.V) * set.sum);
    }
    plan.steps.push_back(step);
  }
  plan.scratch_bytes = plan.queries_bytes + partial_bytes;
  return plan;
}

PairPlan plan_weights(const Problem& p) {
  const PairKernelSet& set = cuda_pair_kernels(p.dtype);
  PairPlan plan = plan_pairs(p, set.weights, set.count);
  plan.blocks = p.B * (p.weights_kind == kMeanWeights ? 1 : p.H) * plan.query_tiles * plan.key_tiles;
  return checked(plan);
}

PairPlan plan_mask_gradient(const Problem& p, const MaskSizes& mask, const Device& device) {
  const PairKernelSet& set = cuda_pair_kernels(p.dtype);
  PairPlan plan = plan_pairs(p, set.mask_gradient, set.count);
  MaskSums& sums = plan.sums;
  sums.batch = mask.batch, sums.heads = mask.heads;
  sums.queries = mask.queries == p.T ? p.T : plan.query_tiles;
  sums.keys = mask.keys == p.S ? p.S : plan.key_tiles;
  const int64_t places = sums.batch * sums.heads, tiles = places * plan.query_tiles * plan.key_tiles;
  const size_t part_bytes = size_t(places * sums.queries * sums.keys) * cuda_kernels(p.dtype).sum;
  sums.parts = std::min(p.B * p.H / places, ceil_div(kBlocksOfSm * device.sms, tiles));
  sums.parts = std::max<int64_t>(1, std::min(sums.parts, int64_t(kMostMaskBytes / part_bytes)));
  sums.is_final = sums.parts == 1 && sums.queries == mask.queries && sums.keys == mask.keys;
  plan.scratch_bytes = sums.is_final ? 0 : size_t(sums.parts) * part_bytes;
  plan.blocks = sums.parts * tiles;
  return checked(plan);
}

}  // namespace pyrnn::attention::cuda
