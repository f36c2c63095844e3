"""A scope that promises constant weights, whose recurrent layers pack them once."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pyrnn import _native
from pyrnn._dispatch import is_readable
from pyrnn.nn.attention_decoder import AttentionDecoder
from pyrnn.nn.base import RecurrentLayer
from pyrnn.nn.cells import RecurrentCell
from pyrnn.ops.recurrent.cpu import CPU_DTYPES, PackedWeights


class frozen_weights:
    """Promise that no weight in `module` changes inside: recurrent layers and cells pack theirs once.

    A kernel reads weights in an order of its own. Outside such a scope each call reorders them anew, because
    whoever writes to a weight must be seen; in many short calls, of a stream, an agent or a search, that is
    much of the work. Inside, calls without gradients find the packed weights, and results have the bits of
    one call on the whole sequence, however it is cut (but in bfloat16, where a state is rounded when it is
    handed over; and in an `AttentionDecoder`, whose input's product is rounded otherwise for other numbers of
    steps). Calls that record gradients, other devices, and weights that a parametrization computes are
    served as ever.

    The weights are packed when the object is made; it may be entered again and again, by several threads.
    Small calls of every layer, attention too, need not ask anew how much memory a parameter has.

    Args:
        module: a layer, or a model with layers in it.
        check: whether to look at each end if a weight was written to all the same, by a checksum. Default: in
            Python's development mode (`python -X dev`).

    Raises:
        RuntimeError: at the end, with `check`: a weight was changed, and results may be of the old ones.

    Example:
        >>> import torch, pyrnn
        >>> layer, x = pyrnn.GRU(3, 4), torch.randn(40, 2, 3)
        >>> with torch.no_grad(), pyrnn.frozen_weights(layer):
        ...     state, steps = None, []
        ...     for hop in x.split([7, 1, 1, 31]):
        ...         output, state = layer(hop, state)
        ...         steps.append(output)
        ...     whole, _ = layer(x)
        >>> torch.equal(torch.cat(steps), whole)
        True
    """

    def __init__(self, module: nn.Module, *, check: bool | None = None) -> None:
        check = sys.flags.dev_mode if check is None else check
        self._kept: list[Any] = [_native.cpu.FrozenTensors((*module.parameters(), *module.buffers()))]
        self._checksums: list[tuple[str, Tensor, int]] = []
        for path, layer in module.named_modules():
            for cell, weights in _weights_of(layer):
                self._kept.append(PackedWeights(cell, weights))
                if check:
                    kind = f"{path or 'the module'} ({type(layer).__name__})"
                    self._checksums += [(kind, w, _checksum(w)) for w in weights if w is not None]

    def __enter__(self) -> None:
        for kept in self._kept:
            kept.freeze()

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for kept in self._kept:
            kept.thaw()
        for kind, weight, checksum in () if error else self._checksums:
            if _checksum(weight) != checksum:
                raise RuntimeError(
                    f"a weight of shape {list(weight.shape)} in {kind} was changed although frozen_weights "
                    "promised that none is: results since then may be those of the old one. Leave the scope "
                    "before you write to weights, and make a new one afterwards"
                )


def _weights_of(layer: nn.Module) -> Iterator[tuple[str, tuple[Tensor | None, ...]]]:
    """Cell and weights, 5 of each direction, of every layer of a stack whose weights the kernels can keep."""
    stacked: list[tuple[Tensor | None, ...]]
    if isinstance(layer, RecurrentLayer):
        groups = [layer._layer_weights(n) for n in range(layer.num_layers)]
        stacked = [tuple(weight for direction in each for weight in direction) for each in groups]
    elif isinstance(layer, RecurrentCell):
        stacked = [(layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh, None)]
    elif isinstance(layer, AttentionDecoder):
        stacked = [(layer.weight_context, layer.weight_hh, None, layer.bias_hh, None)]
    else:
        return
    own = {id(parameter) for parameter in layer._parameters.values()}  # not what a parametrization computes
    for weights in stacked:
        given = [weight for weight in weights if weight is not None]
        if all(id(weight) in own and _can_be_packed(weight, given[0]) for weight in given):
            yield layer._cell, weights


def _can_be_packed(weight: Tensor, first: Tensor) -> bool:
    return (
        is_readable(weight)
        and weight.dtype == first.dtype
        and weight.dtype in CPU_DTYPES
        and weight.is_contiguous()
        and weight.numel() > 0
        and weight.untyped_storage().nbytes() > 0  # tools that shard models free it between two calls
    )


def _checksum(weight: Tensor) -> int:
    return zlib.crc32(memoryview(weight.detach().view(torch.uint8).numpy()))  # type: ignore[arg-type]
