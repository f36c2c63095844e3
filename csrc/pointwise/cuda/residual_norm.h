// Layer normalisation of a residual sum, forward and backward.
//
// A team, a warp or a block, takes a row at a time; a thread takes pieces of it as in dropout and keeps the
// first kHeld in registers, those behind are read again from the cache. A row is summed, for the mean and
// then for the squares of deviations, by shuffles of fixed order. Bytes: each tensor once.
//
// d_weight and d_bias: blocks of the second kernel own some features of a slice of rows, whose warps take
// every eighth row; those of the third add up the slices. Every sum has a fixed order, whoever comes first.
#pragma once
#include "pointwise/cuda/pieces.h"

namespace pyrnn::pointwise::cuda {

constexpr int kHeld = 4;

// The words of elements n to n + 3, which are those of two blocks where n is no multiple of 4.
__device__ __forceinline__ void words_from(const Drop& drop, uint64_t n, uint32_t (&word)[4]) {
  drop.draw(n / 4, word);
  if (n % 4 == 0) return;
  uint32_t next[4];
  drop.draw(n / 4 + 1, next);
#pragma unroll
  for (int by = 1; by <= 2; by *= 2)
    if (n & unsigned(by)) {
#pragma unroll
      for (int i = 0; i < 4; i++) word[i] = i + by < 4 ? word[i + by] : next[i + by - 4];
#pragma unroll
      for (int i = 0; i + by < 4; i++) next[i] = next[i + by];
    }
}

// The sum over a team's threads; all of them get the same bits.
template <int kTeam, class A>
__device__ __forceinline__ A team_sum(A v) {
#pragma unroll
  for (int with = 16; with; with /= 2) v += __shfl_xor_sync(~0u, v, with);
  if constexpr (kTeam > 32) {
    SHARED_ARRAY(A, parts, kTeam / 32);
    __syncthreads();  // the sum before has been read
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0;
#pragma unroll
    for (int i = 0; i < kTeam / 32; i++) v += parts[i];
  }
  return v;
}

// What the first of a team's threads has.
template <int kTeam, class A>
__device__ __forceinline__ A team_first(A v) {
  v = __shfl_sync(~0u, v, 0);
  if constexpr (kTeam > 32) {
    SHARED_ARRAY(A, first, 1);
    __syncthreads();  // the number before has been read
    if (threadIdx.x == 0) first[0] = v;
    __syncthreads();
    v = first[0];
  }
  return v;
}

// use(held, c) for each of a thread's pieces of a row, which begins at feature c. Behind those that are held,
// `make` makes them first.
template <int kTeam, int N, class Held, class Make, class Use>
__device__ __forceinline__ void for_pieces(Held (&held)[kHeld], int64_t features, Make make, Use use) {
  const int64_t thread = threadIdx.x % kTeam;
#pragma unroll
  for (int k = 0; k < kHeld; k++) {
    const int64_t c = (k * kTeam + thread) * N;
    if (c < features) use(held[k], c);
  }
  for (int64_t c = (kHeld * kTeam + thread) * N; c < features; c += kTeam * N) {
    Held piece;
    make(piece, c);
    use(piece, c);
  }
}

// Features of a row or of weights, as pieces.
template <class S>
struct Features {
  using P = Piece<S>;
  int64_t count;
  bool aligned;

  __device__ __forceinline__ void load(P& piece, const void* x, int64_t start, int64_t c) const {
    load_piece(piece, x, start + c, count - c, aligned && count - c >= P::kElements);
  }
  __device__ __forceinline__ void store(const P& piece, void* x, int64_t start, int64_t c) const {
    store_piece(piece, x, start + c, count - c, aligned && count - c >= P::kElements);
  }
};

template <class S, int kTeam>
__global__ void __launch_bounds__(kThreads) norm_forward_kernel(const __grid_constant__ NormCall call) {
  using A = typename Accumulate<S>::type;
  using P = Piece<S>;
  constexpr int N = P::kElements;
  const ResidualNormProblem& p = call.problem;
  const Features<S> row_of{p.features, call.aligned};
  const int64_t stride = int64_t(gridDim.x) * (kThreads / kTeam), n = p.features;
  for (int64_t row = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kTeam; row < p.rows; row += stride) {
    const int64_t start = row * n;
    P held[kHeld] = {};
    const auto reload = [&](P& sum, int64_t c) { row_of.load(sum, p.summed, start, c); };
    const auto add_up = [&](auto term) {  // over all features
      A total = 0;
      for_pieces<kTeam, N>(held, n, reload, [&](const P& sum, int64_t c) {
#pragma unroll
        for (int e = 0; e < N; e++)
          if (c + e < n) total += term(widen<S>(sum.element[e]));
      });
      return team_sum<kTeam>(total);
    };
    for_pieces<kTeam, N>(
        held, n, [](P&, int64_t) {},
        [&](P& sum, int64_t c) {
          P x, residual;
          row_of.load(x, p.x, start, c);
          row_of.load(residual, p.residual, start, c);
#pragma unroll
          for (int first = 0; first < N; first += 4) {
            uint32_t word[4] = {};
            if (call.drop.drops) words_from(call.drop, uint64_t(start + c + first), word);
#pragma unroll
            for (int i = 0; i < 4; i++) {
              A v = widen<S>(x.element[first + i]);
              if (call.drop.drops) v = call.drop.apply(word[i], v);
              sum.element[first + i] = narrow<S>(widen<S>(residual.element[first + i]) + v);
            }
          }
          row_of.store(sum, p.summed, start, c);
        });
    // The mean by differences from the first number: see common/layer_norm.h.
    const A first = team_first<kTeam>(widen<S>(held[0].element[0]));
    const A mean = first + add_up([&](A v) { return v - first; }) / A(n);
    const A variance = add_up([&](A v) { return (v - mean) * (v - mean); }) / A(n);
    const A rstd = A(1) / sqrt(variance + A(p.eps));
    if (threadIdx.x % kTeam == 0) {
      static_cast<A*>(p.mean)[row] = mean;
      static_cast<A*>(p.rstd)[row] = rstd;
    }
    for_pieces<kTeam, N>(held, n, reload, [&](P& sum, int64_t c) {
      P weight, bias;
      if (p.weight) row_of.load(weight, p.weight, 0, c);
      if (p.bias) row_of.load(bias, p.bias, 0, c);
#pragma unroll
      for (int e = 0; e < N; e++) {
        A v = (widen<S>(sum.element[e]) - mean) * rstd;
        if (p.weight) v *= widen<S>(weight.element[e]);
        if (p.bias) v += widen<S>(bias.element[e]);
        sum.element[e] = narrow<S>(v);
      }
      row_of.store(sum, p.out, start, c);
    });
  }
}

// d_residual and d_x.
template <class S, int kTeam>
__global__ void __launch_bounds__(kThreads) norm_backward_kernel(const __grid_constant__ NormCall call) {
  using A = typename Accumulate<S>::type;
  using P = Piece<S>;
  constexpr int N = P::kElements;
  struct Held {
    P g, summed;
  };
  const ResidualNormProblem& p = call.problem;
  const Features<S> row_of{p.features, call.aligned};
  const int64_t stride = int64_t(gridDim.x) * (kThreads / kTeam), n = p.features;
  for (int64_t row = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kTeam; row < p.rows; row += stride) {
    const int64_t start = row * n;
    const A mean = static_cast<const A*>(p.mean)[row], rstd = static_cast<const A*>(p.rstd)[row];
    Held held[kHeld];
    const auto load = [&](Held& piece, int64_t c) {
      row_of.load(piece.g, p.g, start, c);
      row_of.load(piece.summed, p.summed, start, c);
    };
    // use(e, h, z), of a piece; h is rounded because nothing is left of it in a row whose h are all equal.
    const auto elements = [&](const Held& piece, int64_t c, auto use) {
      P weight;
      if (p.weight) row_of.load(weight, p.weight, 0, c);
#pragma unroll
      for (int e = 0; e < N; e++) {
        const A g = widen<S>(piece.g.element[e]);
        use(e, p.weight ? rounded_product(g, widen<S>(weight.element[e])) : g,
            (widen<S>(piece.summed.element[e]) - mean) * rstd);
      }
    };
    for_pieces<kTeam, N>(held, n, [](Held&, int64_t) {}, load);
    A h_sum = 0, hz_sum = 0;
    for_pieces<kTeam, N>(held, n, load, [&](const Held& piece, int64_t c) {
      elements(piece, c, [&](int e, A h, A z) {
        if (c + e < n) h_sum += h, hz_sum += h * z;
      });
    });
    const A h_mean = team_sum<kTeam>(h_sum) / A(n), hz_mean = team_sum<kTeam>(hz_sum) / A(n);
    for_pieces<kTeam, N>(held, n, load, [&](const Held& piece, int64_t c) {
      P d, d_x, g_summed;
      if (p.g_summed) row_of.load(g_summed, p.g_summed, start, c);
      elements(piece, c, [&](int e, A h, A z) {
        A v = (h - h_mean - z * hz_mean) * rstd;
        if (p.g_summed) v += widen<S>(g_summed.element[e]);
        d.element[e] = narrow<S>(v);
      });
      if (p.d_residual) row_of.store(d, p.d_residual, start, c);
      if (!p.d_x) return;
#pragma unroll
      for (int first = 0; first < N; first += 4) {
        uint32_t word[4] = {};
        if (call.drop.drops) words_from(call.drop, uint64_t(start + c + first), word);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const A v = widen<S>(d.element[first + i]);
          d_x.element[first + i] = narrow<S>(call.drop.drops ? call.drop.apply(word[i], v) : v);
        }
      }
      row_of.store(d_x, p.d_x, start, c);
    });
  }
}

// Of the slice blockIdx.y, g z and g summed over its rows.
template <class S>
__global__ void __launch_bounds__(kThreads) norm_partial_kernel(const __grid_constant__ NormCall call) {
  using A = typename Accumulate<S>::type;
  constexpr int N = Piece<S>::kElements, kColumns = 32 * N;
  SHARED_ARRAY(A, parts, kWarps * 2 * kColumns);
  const ResidualNormProblem& p = call.problem;
  const Features<S> row_of{p.features, call.aligned};
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t n = p.features, c = int64_t(blockIdx.x) * kColumns + lane * N;
  const int64_t begin = blockIdx.y * call.rows_of_slice;
  const int64_t end = begin + call.rows_of_slice < p.rows ? begin + call.rows_of_slice : p.rows;
  A gz_sum[N] = {}, g_sum[N] = {};
  for (int64_t row = begin + warp; row < end && c < n; row += kWarps) {
    const A mean = static_cast<const A*>(p.mean)[row], rstd = static_cast<const A*>(p.rstd)[row];
    Piece<S> g, summed;
    row_of.load(g, p.g, row * n, c);
    row_of.load(summed, p.summed, row * n, c);
#pragma unroll
    for (int e = 0; e < N; e++) {
      g_sum[e] += widen<S>(g.element[e]);
      gz_sum[e] += widen<S>(g.element[e]) * ((widen<S>(summed.element[e]) - mean) * rstd);
    }
  }
#pragma unroll
  for (int e = 0; e < N; e++) {
    parts[(warp * 2) * kColumns + lane * N + e] = gz_sum[e];
    parts[(warp * 2 + 1) * kColumns + lane * N + e] = g_sum[e];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * kColumns; i += kThreads) {
    const int which = i / kColumns, column = i % kColumns;
    const int64_t feature = int64_t(blockIdx.x) * kColumns + column;
    A total = 0;
#pragma unroll
    for (int from = 0; from < kWarps; from++) total += parts[(from * 2 + which) * kColumns + column];
    if (feature < n) static_cast<A*>(p.partial)[(int64_t(blockIdx.y) * 2 + which) * n + feature] = total;
  }
}

// d_weight, or d_bias where blockIdx.y is 1: each warp adds every eighth slice, then one adds the warps'.
template <class S>
__global__ void __launch_bounds__(kThreads) norm_sums_kernel(const __grid_constant__ NormCall call) {
  using A = typename Accumulate<S>::type;
  SHARED_ARRAY(A, parts, kThreads);
  const ResidualNormProblem& p = call.problem;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t feature = int64_t(blockIdx.x) * 32 + lane, which = blockIdx.y;
  A total = 0;
  for (int64_t slice = warp; slice < p.slices && feature < p.features; slice += kWarps)
    total += static_cast<const A*>(p.partial)[(slice * 2 + which) * p.features + feature];
  parts[threadIdx.x] = total;
  __syncthreads();
  void* out = which ? p.d_bias : p.d_weight;
  if (warp || feature >= p.features || !out) return;
#pragma unroll
  for (int from = 1; from < kWarps; from++) total += parts[from * 32 + lane];
  static_cast<S*>(out)[feature] = narrow<S>(total);
}

}  // namespace pyrnn::pointwise::cuda
