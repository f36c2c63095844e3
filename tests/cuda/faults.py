"""Faults that kernels of this kind have, as changes of their sources."""

from __future__ import annotations

from typing import NamedTuple

#: In C++: whether this is the fault that is wanted.
FAULT = "PYRNN_THIS_FAULT"


class Fault(NamedTuple):
    """In file `name` of csrc, `old` becomes `new`: statements or an expression, or `new` says itself when."""

    name: str
    old: str
    new: str
    race_only: bool = False  # nothing but the race detector sees it: memory of the emulator is sequential


class Subject(NamedTuple):
    """Some kernels of an operator, compiled anew for one dtype with all of its faults, chosen at run time."""

    operator: str
    source: str  # of the kernels, SOURCE.cu
    dtype: str
    few: tuple[str, str]  # a change of it: what tests/cuda/injected_fault.py runs, and no more
    faults: dict[str, Fault]


RECURRENT = {
    "missing_barrier": Fault(
        "recurrent/cuda/recurrence_kernel.h",
        "      __syncthreads();\n      A sum[2][M];",
        "      A sum[2][M];",
    ),
    "wrong_lane": Fault(
        "recurrent/cuda/product.h",
        "weights + lane / 4 * 2;",
        f"weights + ({FAULT} ? lane % 4 : lane / 4) * 2;",
    ),
    "tail_of_the_batch": Fault(
        "recurrent/cuda/block.h", "at.b < w.B && unit < w.H", "at.b <= w.B && unit < w.H"
    ),
    "tail_of_the_units": Fault(
        "recurrent/cuda/block.h", "at.b < w.B && unit < w.H", "at.b < w.B && unit <= w.H"
    ),
    "reset_one_step_late": Fault(
        "recurrent/cuda/block.h",
        "return is_cut(w, d == 0 ? t + 1 : t,",
        f"return is_cut(w, (d == 0) != {FAULT} ? t + 1 : t,",
    ),
    "sums_of_half_the_warps": Fault(
        "recurrent/cuda/recurrence_kernel.h",
        "        __syncthreads();\n        if (warp < kParts)",
        "        if (warp < kParts)",
    ),
    "missing_grid_barrier": Fault(
        "recurrent/cuda/recurrence_kernel.h",
        "if (row0 == 0 && s > s0) exchange.wait(s);",
        "",
    ),
    "single_buffer": Fault(
        "recurrent/cuda/exchange.h",
        "from = buffers + s % 2 * size, to = buffers + (s + 1) % 2 * size;\n  }\n\n  // Numbers",
        "from = buffers, to = buffers;\n  }\n\n  // Numbers",
    ),
    "single_buffer_of_a_cluster": Fault(
        "recurrent/cuda/exchange.h",
        "from = buffers + s % 2 * size, to = buffers + (s + 1) % 2 * size;\n  }\n\n  template",
        "from = buffers, to = buffers;\n  }\n\n  template",
    ),
    "leaving_a_cluster_early": Fault(
        "recurrent/cuda/exchange.h",
        "  __device__ void close(int64_t s1) {\n    ptx::cluster_wait_acquire();",
        "  __device__ void close(int64_t s1) {",
    ),
    "wrong_rank": Fault(
        "recurrent/cuda/exchange.h",
        "ptx::map_shared_rank(there, unit / kUnits)",
        "ptx::map_shared_rank(there, 0)",
    ),
    "wrong_arrival_count": Fault(
        "recurrent/cuda/exchange.h", "unsigned(s) * gridDim.x", "unsigned(s + 1) * gridDim.x"
    ),
    "missing_block_barrier_before_arrival": Fault(
        "common/cuda/grid_barrier.h",
        "  __syncthreads();\n  if (threadIdx.x == 0) ptx::red_add",
        "  if (threadIdx.x == 0) ptx::red_add",
    ),
    "exchange_by_the_first_cache": Fault(
        "recurrent/cuda/exchange.h",
        "return __ldcg((const Word*)(from + Product::exchange_index(k, row, w.rows)));",
        "return *(const Word*)(from + Product::exchange_index(k, row, w.rows));",
        True,
    ),
    "missing_release": Fault(
        "common/cuda/grid_barrier.h", "ptx::red_add_release(arrivals, 1);", "*arrivals += 1;", True
    ),
    "missing_acquire": Fault("common/cuda/grid_barrier.h", "    ptx::ld_acquire(arrivals);", "", True),
}

_FORWARD, _ROWS = "attention/cuda/forward.h", "attention/cuda/forward_rows.h"
_KEYS_LANDED = (
    "      ptx::cp_async_wait<2>();  // all but values of this tile and keys of the next have landed\n"
)
_VALUES_LANDED = "      ptx::cp_async_wait<2>();\n      const bool nonfinite"

ATTENTION = {
    "places_of_chunks_collide": Fault("attention/cuda/tile.h", "(i ^ (row % 8))", "(i | (row % 8))"),
    "values_are_no_numbers_unseen": Fault("attention/cuda/tile.h", "return found != 0;", "return false;"),
    "missing_barrier_before_scores": Fault(_FORWARD, f"{_KEYS_LANDED}      __syncthreads();\n", _KEYS_LANDED),
    "missing_barrier_before_values": Fault(
        _FORWARD, "__syncthreads_or(nonfinite)", "__any_sync(~0u, nonfinite)"
    ),
    "keys_have_not_landed": Fault(_FORWARD, _KEYS_LANDED, _KEYS_LANDED.replace("<2>", "<3>")),
    "values_have_not_landed": Fault(_FORWARD, _VALUES_LANDED, _VALUES_LANDED.replace("<2>", "<3>")),
    "one_buffer_of_keys": Fault(_FORWARD, "load_keys(k[(i + 1) % 2]", f"load_keys(k[(i + !{FAULT}) % 2]"),
    "one_buffer_of_values": Fault(_FORWARD, "load_keys(v[(i + 1) % 2]", f"load_keys(v[(i + !{FAULT}) % 2]"),
    "one_key_too_many": Fault(
        "attention/cuda/scores.h", "end, p.query_start + 1);", f"end, p.query_start + 1 + {FAULT});"
    ),
    "strides_of_the_mask_mixed_up": Fault(_ROWS, "at + key * mask.key", "at + key * mask.query"),
    "sum_with_the_wrong_lane": Fault(_ROWS, "__shfl_xor_sync(~0u, all, 2)", "__shfl_xor_sync(~0u, all, 4)"),
    "sums_keep_their_old_shift": Fault(
        _ROWS, "sum[m][half] * factor[m][half] + added", "sum[m][half] + added"
    ),
    "outputs_keep_their_old_shift": Fault(_ROWS, "if (!__any_sync(~0u, by != 1)) continue;", "continue;"),
    "dropped_words_are_not_exchanged": Fault(
        "attention/cuda/dropout.h",
        "__shfl_xor_sync(~0u, odd ? word[0] : word[2], 1)",
        "odd ? word[0] : word[2]",
    ),
    "values_are_not_transposed": Fault(
        "attention/cuda/products.h",
        "ptx::ldmatrix_x4_trans(right, b.chunk(b_row + k * kDepth, n + lane / 16));",
        "ptx::ldmatrix_x4(right, b.chunk(b_row + k * kDepth, n + lane / 16));",
    ),
    "parts_keep_their_own_shift": Fault(
        "attention/cuda/combine.h", "sum += weight_of<S>(part[0] - offset) * part[1]", "sum += part[1]"
    ),
    "parts_overlap": Fault(
        "attention/cuda/block.h", "begin + int64_t(each) * step", "begin + int64_t(each) * step * 2"
    ),
    "sums_are_not_stored": Fault(
        _ROWS,
        "to[0] = shift[m][half], to[p.T] = all;",
        "to[0] = shift[m][half];",
    ),
    "masked_weights_meet_values": Fault(
        "attention/cuda/products.h", "if (is_masked_weight(left)) continue;", ""
    ),
    "keys_of_another_head": Fault("attention/cuda/block.h", "kv * group + row % group", "kv + row % group"),
}

_HOPPER = "attention/cuda/hopper_forward.h"
_RING = "attention/cuda/ring.h"

ATTENTION_HOPPER = {
    "keys_are_not_awaited": Fault(
        _HOPPER,
        "        buffers.keys.wait_until_full(turn);\n        order.begin();",
        "        order.begin();",
        True,
    ),
    "values_are_not_awaited": Fault(
        _HOPPER,
        "    buffers.values.wait_until_full(turn);\n    ptx::mbarrier_wait(buffers.looked_at",
        f"    if (!{FAULT}) buffers.values.wait_until_full(turn);\n"
        f"    if (!{FAULT})\n    ptx::mbarrier_wait(buffers.looked_at",
    ),
    "queries_are_not_awaited": Fault(_HOPPER, "      buffers.queries.wait_until_full(of_queries);\n", ""),
    "nobody_waits_for_who_looks_at_values": Fault(
        _HOPPER, "    ptx::mbarrier_wait(buffers.looked_at + turn.buffer, turn.phase);\n", ""
    ),
    "wrong_phase_of_full_buffers": Fault(
        _RING, "ptx::mbarrier_wait(full(turn.buffer), turn.phase)", "ptx::mbarrier_wait(full(turn.buffer), 0)"
    ),
    "wrong_phase_of_empty_buffers": Fault(_RING, "turn.phase ^ 1", "turn.phase"),
    "one_buffer_of_keys": Fault(
        _HOPPER,
        "k(int buffer) const { return at(buffer); }",
        f"k(int buffer) const {{ return at({FAULT} ? 0 : buffer); }}",
    ),
    "values_over_keys": Fault(
        _HOPPER, "return at(kBuffers + buffer)", f"return at({FAULT} ? buffer : kBuffers + buffer)"
    ),
    "fewer_bytes_than_come": Fault(
        "attention/cuda/panels.h",
        "expect_tx(landed, kBytes)",
        f"expect_tx(landed, kBytes / ({FAULT} ? 2 : 1))",
    ),
    "barriers_are_not_shown_to_the_engine": Fault(_HOPPER, "    ptx::mbarrier_init_fence();\n", ""),
    "products_without_a_fence": Fault(
        _HOPPER, "    ptx::wgmma_pin(flat(out));\n    ptx::wgmma_fence();", "    ptx::wgmma_pin(flat(out));"
    ),
    "keys_are_released_early": Fault(
        _HOPPER,
        "        ptx::wgmma_wait<1>();\n",
        f"        if ({FAULT}) buffers.keys.release(turn);\n"
        f"        ptx::wgmma_wait<1>();\n        if (!{FAULT})\n",
    ),
    "scores_are_not_awaited": Fault(_HOPPER, "ptx::wgmma_wait<1>()", "ptx::wgmma_wait<2>()"),
    "outputs_are_not_awaited": Fault(
        _HOPPER,
        "    ptx::wgmma_wait<0>();\n    ptx::wgmma_pin(flat(out));",
        "    ptx::wgmma_pin(flat(out));",
    ),
    "queries_are_released_early": Fault(
        _HOPPER,
        "      buffers.queries.wait_until_full(of_queries);\n",
        "      buffers.queries.wait_until_full(of_queries);\n"
        f"      if ({FAULT}) buffers.queries.release(of_queries);\n",
        True,
    ),
    "nobody_has_the_first_turn": Fault(_HOPPER, "if (group == kGroups - 1) end();", ""),
    "a_turn_is_not_given_on": Fault(_HOPPER, "1 + (group + 1) % kGroups", "1 + group"),
    "more_registers_than_were_released": Fault(
        _HOPPER,
        "ptx::claim_registers<Shape::kOwnRegisters>()",
        "ptx::claim_registers<Shape::kOwnRegisters + 8>()",
    ),
    "padding_hides_nothing_from_who_looks": Fault(_HOPPER, "(!kPlain && block.p.padding)", "false"),
    "values_are_no_numbers_unseen": Fault("attention/cuda/tile.h", "return found != 0;", "return false;"),
    "sums_before_such_values_are_lost": Fault(_HOPPER, "    if (spoilt) copy_sums(out, kept);\n", ""),
    "the_last_step_of_a_panel_twice": Fault(
        "attention/cuda/panels.h", "uint32_t(k % kOfPanel) * 32", "uint32_t(k % kOfPanel / 2) * 32"
    ),
    "rows_of_another_warpgroup": Fault(
        _HOPPER, "over_features(64 * order.group)", f"over_features({FAULT} ? 0 : 64 * order.group)"
    ),
    "a_piece_of_work_twice": Fault(
        "attention/cuda/schedule.h", "gridDim.x - 1 - blockIdx.x", "gridDim.x - blockIdx.x"
    ),
    "outputs_keep_their_old_shift": Fault(_HOPPER, "        this->rescale(factor);\n", ""),
}

_KEYS = "attention/cuda/key_gradient.h"
_QUERIES = "attention/cuda/query_gradient.h"
_PAIR = "attention/cuda/pair_gradient.h"

ATTENTION_GRADIENT = {
    "missing_barrier_before_queries": Fault(
        _KEYS,
        "__syncthreads_or(partial ? own_part_has_nonfinite(buffer) : own_row_is_spoilt(buffer))",
        "__any_sync(~0u, partial ? own_part_has_nonfinite(buffer) : own_row_is_spoilt(buffer))",
    ),
    "queries_are_overwritten_early": Fault(
        _KEYS,
        "      __syncthreads();\n    }\n    ptx::cp_async_wait<0>();",
        "    }\n    ptx::cp_async_wait<0>();",
    ),
    "queries_have_not_landed": Fault(_KEYS, "ptx::cp_async_wait<1>()", "ptx::cp_async_wait<2>()"),
    "missing_barrier_before_keys": Fault(
        _QUERIES,
        "ptx::cp_async_wait<1>();\n      __syncthreads();",
        "ptx::cp_async_wait<1>();",
    ),
    "keys_have_not_landed": Fault(_QUERIES, "ptx::cp_async_wait<1>()", "ptx::cp_async_wait<2>()"),
    "one_buffer_of_queries": Fault(_KEYS, "load(1 - buffer, row", f"load({FAULT} ? buffer : 1 - buffer, row"),
    "queries_of_another_head": Fault(_KEYS, "r - int64_t(t) * rows.group", "0"),
    "strides_of_the_mask_mixed_up": Fault(
        "attention/cuda/scores.h",
        "t * p.mask.query + j * p.mask.key",
        "t * p.mask.key + j * p.mask.query",
    ),
    "dropped_in_another_order": Fault(
        "attention/cuda/dropout.h",
        "const int to = place ^ other;",
        f"const int to = {FAULT} ? other : place ^ other;",
    ),
    "gradients_of_what_is_dropped": Fault(_PAIR, "d *= keep ? kept : A(0);", "d *= kept;"),
    "delta_is_forgotten": Fault(_PAIR, "w * (d - of.delta)", "w * d"),
    "delta_of_weights_is_forgotten": Fault(
        "attention/cuda/delta.h", "numbers[row].delta += all;", "numbers[row].delta += 0;"
    ),
    "slope_of_the_cap_is_forgotten": Fault(_PAIR, "(kOfMask ? A(1) : cap_slope)", "A(1)"),
    "parts_of_gradients_overlap": Fault(
        "attention/cuda/block.h", "begin + int64_t(each) * step", "begin + int64_t(each) * step * 2"
    ),
    "a_part_is_not_added": Fault(
        "attention/cuda/split_sum.h",
        "i < call.splits; i++, part += count)\n#pragma",
        f"i + {FAULT} < call.splits; i++, part += count)\n#pragma",
    ),
    "hidden_keys_meet_gradients": Fault(
        "attention/cuda/products.h", "if (is_masked_weight(left)) continue;", ""
    ),
}

#: In the place of all others, which get another name and are not compiled: few numbers are several tiles.
_SMALL_KERNELS = """struct Kernels {
  static constexpr ForwardKernel forward[] = {forward_of<S, Shape<64, 1, 2, 32>, true>(),
                                              forward_of<S, Shape<64, 1, 2, 32>, false>()};
};
template <class S, size_t kBytes = sizeof(S)>
struct AllKernels {"""

# One block on a multiprocessor, as the registers of the others allow: some have several pieces of work.
_SMALL_HOPPER = """struct Kernels;
template <class S, bool kPlain>
constexpr ForwardKernel small_of() {
  ForwardKernel kernel = hopper_of<S, HopperShape<64, 2, 64, 2>, kPlain>();
  kernel.blocks_per_sm = [] { return 1; };
  return kernel;
}
template <class S>
struct Kernels {
  static constexpr ForwardKernel forward[] = {small_of<S, true>(), small_of<S, false>()};
};
template <class S>
struct AllKernels {"""

_SMALL_GRADIENTS = """struct Kernels {
  static constexpr BackwardKernel delta[] = {delta_of_weights<S, Shape<64, 1, 2, 32>>()};
  static constexpr BackwardKernel gradients[] = {
      query_gradient<S, Shape<64, 1, 2, 32>, false>(),
      key_gradient<S, Shape<64, 1, 2, 16>, false, kOfKeys | kOfValues>()};
};
template <class S, size_t kBytes = sizeof(S)>
struct AllKernels {"""

SUBJECTS = {
    "recurrent": Subject(
        "recurrent",
        "kernels",
        "float32",
        ("{cell_of<Cell, S>()...}", "{{}, {}, {}, cell_of<LstmCell, S>()}"),
        RECURRENT,
    ),
    "attention": Subject("attention", "kernels", "float16", ("struct Kernels {", _SMALL_KERNELS), ATTENTION),
    "attention_hopper": Subject(
        "attention", "hopper", "float16", ("struct Kernels {", _SMALL_HOPPER), ATTENTION_HOPPER
    ),
    "attention_gradient": Subject(
        "attention", "backward", "float16", ("struct Kernels {", _SMALL_GRADIENTS), ATTENTION_GRADIENT
    ),
}
