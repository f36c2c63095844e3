"""Self-attention on what one projection made, as a single call of C++ (csrc/attention/eager.cpp).

Cutting a projection into queries, keys and values and merging the heads again are six views, each of which
costs more than the kernel of a few tokens. As in `pyrnn.ops.recurrent.eager`, plain tensors on the CPU in
perfect order are served, and all others are left, in words, to the operator, which gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from pyrnn import _native
from pyrnn.ops._derivatives import recompute_gradients

_COMPILES = "torch.compile traces the call, or the CUDA kernels are emulated"


class SelfAttention(NamedTuple):
    """What is to be computed, as the module takes it. Positions are those of the operator."""

    heads: int
    batch_first: bool
    causal: bool
    window_left: int  # negative: no limit
    window_right: int
    scale: float
    slopes: Tensor | None = None  # [H] float32, of ALiBi


class EagerSelfAttention:
    """Self-attention on packed projections.

    Args:
        attend: (options, packed) -> output, the same by the operator.
    """

    def __init__(self, attend: Callable[[SelfAttention, Tensor], Tensor]) -> None:
        self._record: Any = _make_function(attend).apply

    def __call__(self, options: SelfAttention, packed: Tensor, *, ask: bool = False) -> Tensor | str:
        """The output of a call, or why the operator must do it.

        Args:
            options: what to compute.
            packed: queries, keys and values of all heads side by side, [T, B, 3*E], [B, T, 3*E] with
                `batch_first`, or [T, 3*E].
            ask: compute nothing: where the call would be served, the output holds no numbers.

        Returns:
            The same with E features: the heads' outputs side by side.
        """
        if torch.compiler.is_compiling() or _native.emulated_cuda is not None:
            return _COMPILES
        threads = _native.cpu.asked if ask else _native.num_threads()
        return _native.cpu.attention_call(self._record, options, threads, packed)

    def cached(
        self,
        options: SelfAttention,
        packed: Tensor,
        keys: Tensor,
        values: Tensor,
        begin: int,
        end: int,
        *,
        ask: bool = False,
    ) -> Tensor | str:
        """The output of new tokens that see those before them, or words as above. No derivative.

        Args:
            options: `causal` is taken for granted.
            packed: of the new tokens, as above.
            keys: [B, H, capacity, D], of which [begin, end) hold keys; those of `packed` are written behind.
            values: the same of values.
            begin: of the keys that are kept.
            end: of them.
            ask: as above.
        """
        if torch.compiler.is_compiling() or _native.emulated_cuda is not None:
            return _COMPILES
        threads = _native.cpu.asked if ask else _native.num_threads()
        return _native.cpu.attention_cached(options, threads, packed, keys, values, begin, end)


def _make_function(attend: Callable[[SelfAttention, Tensor], Tensor]) -> type[Function]:
    """The call as autograd records it."""

    def forward(ctx: Any, options: SelfAttention, packed: Tensor) -> Tensor:
        found = _native.cpu.attention_train(options, _native.num_threads(), packed)
        if found is None:
            raise RuntimeError("the tensor of a self-attention call was changed while the call began")
        ctx.options = options
        ctx.save_for_backward(packed, *found)
        return found[0]

    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        packed, output, statistics = ctx.saved_tensors
        found: Any = None
        if not torch.compiler.is_compiling():
            found = _native.cpu.attention_gradient(
                ctx.options, _native.num_threads(), packed, output, statistics, grads[0]
            )
        if found is None:  # a second derivative, or a watcher
            (found,) = recompute_gradients(
                lambda packed: (attend(ctx.options, packed),), (packed,), grads, (True,)
            )
        return None, found

    body = {"forward": staticmethod(forward), "backward": staticmethod(backward), "__module__": __name__}
    return type("ScaledDotProductAttention", (Function,), body)
