// Forward pass on compute capability 9.0a: the same rows, softmax and masks as forward.h, by other means
// (Shah et al., FlashAttention-3, 2024).
//
// A block stays on its multiprocessor and takes one piece of work after the other (schedule.h). Its last
// warpgroup makes no products: one thread of it has the copy engine bring queries, keys and values into rings
// of buffers (ring.h, panels.h), and a warp looks for values that are no numbers where keys are hidden from
// some queries. It gives its registers to the others, which own 64 rows of queries each: products of the next
// keys and of the last weights with their values run while they turn the scores between into weights, and
// they issue these products in turn, so that the tensor cores have those of one warpgroup while another has
// exponentials.
//
// A tile of keys and values is 2 kSteps kFeatures numbers of 16 bits, for 4 kRows kSteps kFeatures
// operations.
#pragma once
#include "attention/cuda/forward_rows.h"
#include "attention/cuda/panels.h"
#include "attention/cuda/ring.h"
#include "attention/cuda/schedule.h"

namespace pyrnn::attention::cuda {

constexpr int kWarpgroup = 128;  // threads

// kGroups warpgroups that multiply, and kBuffers tiles of keys and of values on their way. The registers of a
// multiprocessor are theirs and the loader's.
template <int kFeatures, int kGroupsOf, int kSteps, int kBuffersOf>
struct HopperShape : Shape<kFeatures, 1, 4 * kGroupsOf, kSteps> {
  using Base = Shape<kFeatures, 1, 4 * kGroupsOf, kSteps>;
  static constexpr int kGroups = kGroupsOf, kBuffers = kBuffersOf, kBlock = (kGroups + 1) * kWarpgroup;
  static constexpr int kLoaderRegisters = 40, kOwnRegisters = 232;
  static_assert(kGroups == 2 && Base::kRows == 64 * kGroups, "registers and turns are for two of 64 rows");
};

struct HopperCall {
  ForwardCall forward;
  TensorMap q, k, v;
};

// The shared memory of a block.
template <class S, class Shape>
struct HopperBuffers {
  static constexpr int kBuffers = Shape::kBuffers, kWarps = Shape::kWarps;
  using QueryPanels = Panels<S, Shape::kRows, Shape::kFeatures>;
  using KeyPanels = Panels<S, Shape::kSteps, Shape::kFeatures>;
  using KeyRing = Ring<kBuffers>;
  using QueryRing = Ring<1>;
  static constexpr int kBarriers = QueryRing::kBarriers + 2 * KeyRing::kBarriers + kBuffers;

  static constexpr size_t bytes() {
    return kSwizzleBytes + QueryPanels::bytes() + 2 * kBuffers * KeyPanels::bytes();
  }

  QueryPanels q;
  QueryRing queries;
  KeyRing keys, values;
  uint64_t* looked_at;  // barriers: it is known whether these values are all numbers
  int* nonfinite;       // [kBuffers]: they are not

  __device__ __forceinline__ HopperBuffers(unsigned char* dynamic, uint64_t* barriers, int* found)
      : queries{barriers},
        keys{queries.barriers + QueryRing::kBarriers},
        values{keys.barriers + KeyRing::kBarriers},
        looked_at(values.barriers + KeyRing::kBarriers),
        nonfinite(found) {
    SharedAllocator shared = swizzled(dynamic);
    q.take(shared);
    first_.take(shared);
    for (int i = 1; i < 2 * kBuffers; i++) KeyPanels{}.take(shared);
  }

  __device__ __forceinline__ KeyPanels k(int buffer) const { return at(buffer); }
  __device__ __forceinline__ KeyPanels v(int buffer) const { return at(kBuffers + buffer); }

  // By one thread; a __syncthreads follows.
  __device__ __forceinline__ void init() const {
    queries.init(kWarps), keys.init(kWarps), values.init(kWarps);
    for (int i = 0; i < kBuffers; i++) ptx::mbarrier_init(looked_at + i, 1);
    ptx::mbarrier_init_fence();
  }

 private:
  KeyPanels first_;
  __device__ __forceinline__ KeyPanels at(int i) const {
    return {first_.data + i * int(KeyPanels::bytes() / sizeof(S))};
  }
};

// What a block does of one piece of work: which keys, in how many tiles.
template <class S, class Shape, bool kPlain>
struct KeyTiles {
  KeyRange keys;
  int first, count;

  __device__ __forceinline__ KeyTiles(const QueryBlock<S, Shape, kPlain>& block, const Work& work,
                                      const ForwardCall& call)
      : keys(block.keys_of_split(work.split, call.splits)),
        first(keys.begin / Shape::kSteps * Shape::kSteps),
        count(block.tiles_of(keys)) {}
  __device__ __forceinline__ int operator[](int i) const { return first + i * Shape::kSteps; }
};

// Whether some query may not see some key of the tile from j. What hides keys from all of them is loaded here
// as it stands.
template <class S, class Shape, bool kPlain>
__device__ __forceinline__ bool is_partial_as_loaded(const QueryBlock<S, Shape, kPlain>& block, KeyRange keys,
                                                     int j) {
  return block.is_partial(keys, j) || (!kPlain && block.p.padding);
}

// One thread: has everything loaded.
template <class S, class Shape, bool kPlain>
__device__ __forceinline__ void load_all(const HopperCall& call, const HopperBuffers<S, Shape>& buffers) {
  const ForwardCall& forward = call.forward;
  Turn<Shape::kBuffers> turn;
  Turn<1> of_queries;
  Schedule schedule{forward};
  for (unsigned n; (n = schedule.next()) < schedule.count();) {
    const Work work = schedule[n];
    const QueryBlock<S, Shape, kPlain> block(forward.p, work.place, work.tile);
    const KeyTiles<S, Shape, kPlain> tiles(block, work, forward);
    if (tiles.count == 0) continue;
    const int b = int(work.place.b), kv = int(work.place.kv), group = block.rows.group;
    buffers.queries.wait_until_empty(of_queries);
    buffers.q.load(call.q, kv * group, block.first, b, buffers.queries.full(0));
    of_queries.next();
    for (int i = 0; i < tiles.count; i++) {
      buffers.keys.wait_until_empty(turn);
      buffers.k(turn.buffer).load(call.k, tiles[i], kv, b, buffers.keys.full(turn.buffer));
      buffers.values.wait_until_empty(turn);
      buffers.v(turn.buffer).load(call.v, tiles[i], kv, b, buffers.values.full(turn.buffer));
      turn.next();
    }
  }
}

// One warp: looks at the values of tiles that are seen in part.
template <class S, class Shape, bool kPlain>
__device__ __forceinline__ void look_at_values(const HopperCall& call,
                                               const HopperBuffers<S, Shape>& buffers) {
  const ForwardCall& forward = call.forward;
  Turn<Shape::kBuffers> turn;
  Schedule schedule{forward};
  for (unsigned n; (n = schedule.next()) < schedule.count();) {
    const Work work = schedule[n];
    const QueryBlock<S, Shape, kPlain> block(forward.p, work.place, work.tile);
    const KeyTiles<S, Shape, kPlain> tiles(block, work, forward);
    for (int i = 0; i < tiles.count; i++) {
      buffers.values.wait_until_full(turn);
      if (is_partial_as_loaded(block, tiles.keys, tiles[i])) {
        const bool found = buffers.v(turn.buffer).has_nonfinite();
        if (threadIdx.x % 32 == 0) buffers.nonfinite[turn.buffer] = found;
      }
      warp_arrives(buffers.looked_at + turn.buffer);
      turn.next();
    }
  }
}

// Who of the warpgroups that multiply may issue products: in turn, the first one begins.
template <int kGroups>
struct Order {
  int group;  // this one

  // Once, before the first turn.
  __device__ __forceinline__ void open() const {
    if (group == kGroups - 1) end();
  }
  __device__ __forceinline__ void begin() const { ptx::named_barrier_sync(1 + group, 2 * kWarpgroup); }
  __device__ __forceinline__ void end() const {
    ptx::named_barrier_arrive(1 + (group + 1) % kGroups, 2 * kWarpgroup);
  }
};

// The 64 rows of a warpgroup.
template <class S, class Shape, bool kPlain>
struct HopperRows : ForwardRows<S, Shape, kPlain> {
  using Rows = ForwardRows<S, Shape, kPlain>;
  using Buffers = HopperBuffers<S, Shape>;
  using KeyTurn = Turn<Shape::kBuffers>;
  using Rows::kKeys, Rows::kN, Rows::kV, Rows::out;
  using Weights = uint32_t[kKeys / 16][4];  // rounded to S, as products take them from registers

  const Buffers& buffers;
  const Order<Shape::kGroups> order;
  bool spoilt;           // the product under way is of no use
  float kept[1][kV][4];  // then: the sums before it, in local memory

  __device__ __forceinline__ HopperRows(const ForwardCall& call, const Work& work, const Buffers& of)
      : Rows(call, work.place, work.tile), buffers(of), order{int(threadIdx.x) / kWarpgroup} {}

  // The turns of the queries and of keys and values go on from piece to piece.
  __device__ __forceinline__ void run(const Work& work, Turn<1>& of_queries, KeyTurn& turn) {
    const KeyTiles<S, Shape, kPlain> tiles(*this, work, this->call);
    if (tiles.count > 0) {
      float x[1][kN][4], factor[1][2];
      Weights weights;
      buffers.queries.wait_until_full(of_queries);
      buffers.keys.wait_until_full(turn);
      multiply_keys(x, turn);
      ptx::wgmma_wait<0>();
      ptx::wgmma_pin(flat(x));
      buffers.keys.release(turn);
      bool partial = weigh(x, tiles, 0, factor);
      round(x, weights);
      for (int i = 1; i < tiles.count; i++) {
        const KeyTurn last = turn;
        turn.next();
        buffers.keys.wait_until_full(turn);
        order.begin();
        multiply_keys(x, turn);
        multiply_values(weights, last, partial);
        order.end();
        ptx::wgmma_wait<1>();
        ptx::wgmma_pin(flat(x));
        buffers.keys.release(turn);
        partial = weigh(x, tiles, i, factor);
        finish_values(weights, last);
        this->rescale(factor);
        round(x, weights);
      }
      buffers.queries.release(of_queries);
      of_queries.next();
      multiply_values(weights, turn, partial);
      finish_values(weights, turn);
      turn.next();
    }
    this->write(work.split);
  }

 private:
  template <int kCount>
  static __device__ __forceinline__ float (&flat(float (&sums)[1][kCount][4]))
      [kCount * 4] { return reinterpret_cast<float (&)[kCount * 4]>(sums); }

  // Products become weights; returns whether they are of a tile that is seen in part.
  __device__ __forceinline__ bool weigh(float (&x)[1][kN][4], const KeyTiles<S, Shape, kPlain>& tiles, int i,
                                        float (&factor)[1][2]) {
    const bool partial = is_partial_as_loaded(*this, tiles.keys, tiles[i]);
    Rows::weigh(x, tiles[i], partial, tiles.keys, factor);
    return partial;
  }

  static __device__ __forceinline__ void round(const float (&x)[1][kN][4], Weights& weights) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float* pair = &x[0][2 * k + i / 2][i % 2 * 2];
        weights[k][i] = pack_pair(pair[0], pair[1], S());
      }
  }

  // Begins x = q k^T, one group.
  __device__ __forceinline__ void multiply_keys(float (&x)[1][kN][4], const KeyTurn& turn) const {
    const uint64_t q = buffers.q.over_features(64 * order.group), k = buffers.k(turn.buffer).over_features(0);
    ptx::wgmma_pin(flat(x));
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < Buffers::KeyPanels::kSteps; i++)
      ptx::wgmma<S, kKeys>(flat(x), q + Buffers::QueryPanels::features_of(i),
                           k + Buffers::KeyPanels::features_of(i), i > 0);
    ptx::wgmma_commit();
  }

  // Begins out += weights v, one group. Where masked weights would meet values that are no numbers the sums
  // are kept: no branch may hide a product, or the compiler has all wait for one another.
  __device__ __forceinline__ void multiply_values(const Weights& weights, const KeyTurn& turn, bool partial) {
    const uint64_t v = buffers.v(turn.buffer).over_rows();
    buffers.values.wait_until_full(turn);
    ptx::mbarrier_wait(buffers.looked_at + turn.buffer, turn.phase);
    spoilt = partial && buffers.nonfinite[turn.buffer];
    if (spoilt) copy_sums(out, kept);
    ptx::wgmma_pin(flat(out));
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++)
      ptx::wgmma<S, Shape::kFeatures, ptx::Major::mn>(flat(out), weights[k],
                                                      v + Buffers::KeyPanels::rows_of(k));
    ptx::wgmma_commit();
  }

  // All products of this warpgroup are done.
  __device__ __forceinline__ void finish_values(const Weights& weights, const KeyTurn& turn) {
    ptx::wgmma_wait<0>();
    ptx::wgmma_pin(flat(out));
    if (spoilt) {
      copy_sums(kept, out);
      add_visible(weights, buffers.v(turn.buffer));
    }
    buffers.values.release(turn);
  }

  __device__ __forceinline__ void add_visible(const Weights& weights, const typename Buffers::KeyPanels& v) {
    float x[1][kN][4];
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++)
#pragma unroll
      for (int i = 0; i < 4; i++) unpack_pair(weights[k][i], &x[0][2 * k + i / 2][i % 2 * 2], S());
    visible_sums_by_rows<S>(out, x, v, Shape::kFeatures);
  }
};

template <class S, class Shape, bool kPlain>
__global__ void __launch_bounds__(Shape::kBlock, 1)
    hopper_forward_kernel(const __grid_constant__ HopperCall call) {
  DYNAMIC_SHARED(dynamic);
  using Buffers = HopperBuffers<S, Shape>;
  SHARED_ARRAY(uint64_t, barriers, Buffers::kBarriers);
  SHARED_ARRAY(int, nonfinite, Shape::kBuffers);
  const Buffers buffers(dynamic, barriers, nonfinite);
  if (threadIdx.x == 0) buffers.init();
  __syncthreads();
  if (int(threadIdx.x) >= Shape::kThreads) {
    ptx::release_registers<Shape::kLoaderRegisters>();
    if (int(threadIdx.x) == Shape::kThreads) load_all<S, Shape, kPlain>(call, buffers);
    if (int(threadIdx.x) / 32 == Shape::kWarps + 1) look_at_values<S, Shape, kPlain>(call, buffers);
    return;
  }
  ptx::claim_registers<Shape::kOwnRegisters>();
  Turn<Shape::kBuffers> turn;
  Turn<1> of_queries;
  Order<Shape::kGroups>{int(threadIdx.x) / kWarpgroup}.open();
  Schedule schedule{call.forward};
  for (unsigned n; (n = schedule.next()) < schedule.count();) {
    const Work work = schedule[n];
    HopperRows<S, Shape, kPlain>(call.forward, work, buffers).run(work, of_queries, turn);
  }
}

}  // namespace pyrnn::attention::cuda
