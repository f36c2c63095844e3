#include "attention/cuda/plan.h"

#include <algorithm>
#include <stdexcept>

#include "common/integers.h"

namespace pyrnn::attention::cuda {
namespace {

// A split has so many tiles of keys at least: fewer, and its start and the sum of its parts cost more than
// they gain.
constexpr int64_t kTilesOfSplit = 4;

constexpr int64_t kFewRows = 16;  // one warp has them all

const ForwardKernel& choose_forward(const Problem& p, int64_t rows) {
  const KernelSet& set = cuda_kernels(p.dtype);
  const int64_t features = std::max(p.D, p.V);
  const bool plain = is_plain(p), few = rows <= kFewRows;
  for (const bool fits_rows : {true, false})
    for (int i = 0; i < set.forward_count; i++) {
      const ForwardKernel& kernel = set.forward[i];
      if (kernel.features < features || (kernel.plain && !plain)) continue;
      if (!fits_rows || (kernel.rows <= kFewRows) == few) return kernel;
    }
  throw std::invalid_argument("pyrnn: CUDA attention of this dtype takes at most " +
                              std::to_string(set.forward[set.forward_count - 1].features) +
                              " features, got " + std::to_string(features));
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
  if (dtype < 0 || dtype >= kDTypes) throw std::invalid_argument("pyrnn: unknown dtype");
  return *sets[dtype];
}

const PairKernelSet& cuda_pair_kernels(int64_t dtype) {
  static const PairKernelSet* const sets[kDTypes] = {
      &pyrnn_cuda_attention_pairs_float32, &pyrnn_cuda_attention_pairs_bfloat16,
      &pyrnn_cuda_attention_pairs_float64, &pyrnn_cuda_attention_pairs_float16};
  if (dtype < 0 || dtype >= kDTypes) throw std::invalid_argument("pyrnn: unknown dtype");
  return *sets[dtype];
}

bool is_plain(const Problem& p) {
  return p.mask_kind == kNoMask && !p.padding && !p.slopes && p.softcap == 0 && p.dropout == 0;
}

ForwardPlan plan_forward(const Problem& p, const Device& device) {
  if (p.B < 1 || p.K < 1 || p.T < 1 || p.S < 1 || p.H % p.K != 0)
    throw std::invalid_argument("pyrnn: empty problem of attention");
  const int64_t rows = p.T * (p.H / p.K);
  if (rows > kMostPlaces || p.S > kMostPlaces)
    throw std::invalid_argument("pyrnn: attention with more than 2^30 queries or keys of one head");
  ForwardPlan plan{};
  plan.kernel = &choose_forward(p, rows);
  plan.row_tiles = ceil_div(rows, plan.kernel->rows);
  const int64_t blocks = p.B * p.K * plan.row_tiles;
  const int64_t at_once = int64_t(device.sms) * std::max(1, plan.kernel->blocks_per_sm());
  const int64_t most = std::max<int64_t>(1, p.S / (kTilesOfSplit * plan.kernel->keys));
  plan.splits = blocks >= at_once ? 1 : std::min(most, at_once / blocks);
  plan.keys_per_split = round_up(ceil_div(p.S, plan.splits), plan.kernel->keys);
  plan.splits = ceil_div(p.S, plan.keys_per_split);
  if (plan.splits == 1) {
    plan.why = std::to_string(blocks) + " blocks for " + std::to_string(at_once) + " at once";
  } else {
    plan.scratch_bytes = size_t(plan.splits * p.B * p.K * rows * (p.V + 2)) * cuda_kernels(p.dtype).sum;
    plan.why = std::to_string(blocks) + " blocks would not fill the device: " + std::to_string(plan.splits) +
               " share the keys of each";
  }
  if (blocks * plan.splits > INT32_MAX)
    throw std::invalid_argument("pyrnn: attention of " + std::to_string(blocks) +
                                " blocks, a launch has 2^31 - 1");
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
