"""Say which kernel computes a layer's call, with what, and why."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from pyrnn._dispatch import autocast_enabled
from pyrnn._words import counted
from pyrnn.nn._explained_attention import Attention, attentions_of, projection, restrictions, rotation
from pyrnn.nn.attention_decoder import AttentionDecoder, AttentionState, Memory
from pyrnn.nn.base import RecurrentLayer
from pyrnn.nn.cells import RecurrentCell
from pyrnn.nn.drop_in import DropIn
from pyrnn.nn.sequences import Lengths, Sequences
from pyrnn.ops.attention.explain import explain as explain_attention
from pyrnn.ops.attention_decoder.call import Call as DecoderCall
from pyrnn.ops.attention_decoder.eager import small_call
from pyrnn.ops.attention_decoder.explain import explain as explain_decoder
from pyrnn.ops.explanation import KernelExplanation
from pyrnn.ops.recurrent.call import Problem
from pyrnn.ops.recurrent.explain import explain as explain_recurrent

#: What can be explained: layers in the place of torch's, and those that torch lacks.
_LAYERS = (DropIn, AttentionDecoder)


@dataclass(frozen=True, kw_only=True)
class LayerExplanation(KernelExplanation):
    """How one of the stacked layers is computed."""

    layer: int
    sizes: str  # "I = 256, H = 512"
    small: str  # whether the call is one of C++, or why not: docs/small-calls.md
    linear: str | None  # which library projects the queries; attention
    rotary: str | None = None  # who turns queries and keys by their positions; attention that does

    def __str__(self) -> str:
        lines = [
            f"layer {self.layer}: {self.sizes}",
            f"  route    {self.path}: {self.reason}",
            f"  kernel   {self.kernel}",
            f"  small    {self.small}",
        ]
        if self.threads is not None:
            lines.append(f"  machine  {self.isa}, {counted(self.threads, 'thread')}")
        if self.engine is not None:
            lines.append(f"  engine   {self.engine}")
        if self.split is not None:
            lines.append(f"  split    {self.split}")
        if self.linear is not None:
            lines.append(f"  linear   {self.linear}")
        if self.rotary is not None:
            lines.append(f"  rotary   {self.rotary}")
        return "\n".join([*lines, f"  memory   {self.memory}"])


@dataclass(frozen=True)
class Explanation:
    """How a call of a layer is computed; `str` gives it in words."""

    call: str  # the layer and the sizes of its input
    layers: tuple[LayerExplanation, ...]

    def __str__(self) -> str:
        return "\n".join([self.call, *map(str, self.layers)])


@dataclass(frozen=True)
class ModelExplanation:
    """How the calls of a model's layers are computed; `str` gives it in words."""

    call: str
    parts: tuple[tuple[str, int, Explanation], ...]  # a layer's name, how often it is called so, and how

    @property
    def layers(self) -> tuple[LayerExplanation, ...]:
        """Those of all parts."""
        return tuple(layer for _, _, part in self.parts for layer in part.layers)

    def __str__(self) -> str:
        lines = [self.call]
        for name, calls, part in self.parts:
            lines.append(f"{name}, {counted(calls, 'call')}:")
            lines += [f"  {line}" for line in str(part).splitlines()]
        return "\n".join(lines)


def explain(module: nn.Module, *args: Any, **kwargs: Any) -> Explanation | ModelExplanation:
    """Say how `module(*args, **kwargs)` is computed: by which kernels, with what, and why.

    It answers for the grad mode, autocast and number of threads of the moment. A layer's call is not computed
    for it; a model's is, once, on a copy that shares the parameters.

    Args:
        module: `pyrnn.RNN`, `GRU`, `LSTM` or a cell; `pyrnn.nn.MultiheadAttention`, a Transformer or a part
            of one; `pyrnn.nn.AttentionDecoder`; or a model with such layers.
        args: As for the module.
        kwargs: As for the module.

    Returns:
        For each stacked recurrent layer, or each attention: the route (native kernel or reference) and why,
        kernel, whether its call is a single one of C++ or why not, instruction set and threads, or the engine
        on a GPU, how the work is shared, and what is kept for the backward pass. For a model the same of each
        of its layers.

    Raises:
        TypeError: `module` is not one of ours and has none, or has an attention that is not.
        TypeError, ValueError, RuntimeError: as the call itself, for arguments that do not fit.

    Example:
        >>> import torch, pyrnn
        >>> explanation = pyrnn.explain(pyrnn.GRU(3, 4), torch.zeros(5, 2, 3, dtype=torch.float32))
        >>> explanation.layers[0].path
        'native'
    """
    if isinstance(module, _LAYERS):
        return _explain_one(module, *args, **kwargs)
    layers = [name for name, layer in _outermost(module) if isinstance(layer, _LAYERS)]
    if not layers:
        raise TypeError(
            "explain expects a layer of pyrnn's or a model that has one, got "
            f"{type(module).__module__}.{type(module).__qualname__}; pyrnn.accelerate(model) turns torch's "
            "layers into ours"
        )
    told: dict[tuple[str, str], tuple[int, Explanation]] = {}

    def record(name: str, layer: nn.Module, args: Any, kwargs: Any) -> None:
        explanation = _explain_one(layer, *args, **kwargs)
        calls, _ = told.get((name, str(explanation)), (0, None))
        told[name, str(explanation)] = (calls + 1, explanation)

    shared: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
    copied = copy.deepcopy(module, shared)
    for name in layers:
        copied.get_submodule(name).register_forward_pre_hook(partial(record, name), with_kwargs=True)
    with torch.random.fork_rng():
        copied(*args, **kwargs)
    parts = tuple((name, calls, explanation) for (name, _), (calls, explanation) in told.items())
    return ModelExplanation(f"{type(module).__name__}: {counted(len(layers), 'layer')} of pyrnn's", parts)


def _outermost(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules inside `module`, without those inside layers of ours."""
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        yield path, child
        if not isinstance(child, _LAYERS):
            yield from _outermost(child, path)


def _explain_one(layer: nn.Module, *args: Any, **kwargs: Any) -> Explanation:
    if isinstance(layer, RecurrentLayer):
        return _explain_recurrent(layer, *args, **kwargs)
    if isinstance(layer, RecurrentCell):
        return _explain_cell(layer, *args, **kwargs)
    if isinstance(layer, AttentionDecoder):
        return _explain_decoder(layer, *args, **kwargs)
    # The class's: one that was put on the instance need not name its arguments.
    bound = inspect.signature(type(layer).forward).bind(layer, *args, **kwargs)
    attentions = list(attentions_of(layer, bound.arguments))
    return Explanation(
        f"{type(layer).__name__}: {counted(len(attentions), 'attention')}{_unless_replaced(layer)}",
        tuple(_explain_attention(number, attention) for number, attention in enumerate(attentions)),
    )


def _explain_cell(layer: RecurrentCell, input: Tensor, hx: Any = None) -> Explanation:
    rows, h, c = layer.check_call(input, hx)
    B, I, H = rows.shape[1], layer.input_size, layer.hidden_size  # noqa: E741
    problem = Problem(
        cell=layer._cell, T=1, B=B, I=I, H=H, P=H, D=1, N=B, packed=False, batch_first=False,
        checkpoint_every=0, dtype=_dtype_of(rows),
    )  # fmt: skip
    small = _small(layer.why_not_small(input, hx))
    told = _explain_layer(0, problem, rows, small, trains=_trains(rows, h, c, *layer.parameters()))
    if not (I and H):
        told = replace(
            told, path="reference", isa=None, threads=None, engine=None, split=None,
            reason="no kernel computes a cell without features", kernel=f"torch.nn, {layer._cell}",
        )  # fmt: skip
    return Explanation(f"{layer}: one step, B = {B}, {rows.device}{_unless_replaced(layer)}", (told,))


def _explain_recurrent(
    layer: RecurrentLayer,
    input: Tensor | PackedSequence,
    hx: Any = None,
    *,
    lengths: Lengths | None = None,
    reset: Tensor | None = None,
    return_cells: bool = False,
) -> Explanation:
    sequences, states = layer._open(input, hx, lengths, reset)
    trains = _trains(sequences.rows, *states, *layer.parameters())
    problems = [_problem(layer, sequences, number) for number in range(layer.num_layers)]
    small = _small(layer.why_not_small(input, hx, lengths, reset, return_cells=return_cells))
    first = problems[0]
    kind = "packed" if first.packed else "with lengths" if lengths is not None else "padded"
    return Explanation(
        f"{layer}: T = {first.T}, B = {first.B}, {kind}, {sequences.rows.device}{_unless_replaced(layer)}",
        tuple(
            _explain_layer(number, problem, sequences.rows, small, trains=trains)
            for number, problem in enumerate(problems)
        ),
    )


def _explain_decoder(
    layer: AttentionDecoder,
    input: Tensor,
    memory: Memory,
    state: AttentionState | None = None,
    *,
    lengths: Tensor | None = None,
) -> Explanation:
    operands: Any = layer.operands(input, memory, layer.start(memory) if state is None else state)
    cumulative = layer.attention == "coverage"
    tensors = (*operands, memory.lengths, lengths)
    found = small_call(tensors, layer._cell, layer.scale, cumulative=cumulative, ask=True)
    call = DecoderCall._make((*tensors, layer._cell, layer.scale, cumulative))
    p = call.problem()
    told = LayerExplanation(
        layer=0,
        sizes=f"H = {p.H}, A = {p.A}, V = {p.V}",
        small=_small(found if isinstance(found, str) else ""),
        linear=None,
        **vars(explain_decoder(call, trains=_trains(*operands))),
    )
    sizes = f"T = {p.T}, B = {p.B}, S = {p.S}, {input.device}"
    return Explanation(f"{layer}: {sizes}{_unless_replaced(layer)}", (told,))


def _trains(*tensors: Tensor | None) -> bool:
    """Whether autograd records a call on these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _dtype_of(tensor: Tensor) -> torch.dtype:
    """What a call on this tensor computes in: its own dtype, or autocast's."""
    casts = autocast_enabled(tensor.device.type) and tensor.dtype is not torch.float64
    return torch.get_autocast_dtype(tensor.device.type) if casts else tensor.dtype


def _small(why_not: str) -> str:
    """Whether a recurrent call is a small one, in words."""
    return f"no: {why_not}" if why_not else "one call of C++"


def _explain_layer(
    number: int, problem: Problem, rows: Tensor, small: str, *, trains: bool
) -> LayerExplanation:
    projection = f", P = {problem.P}" if problem.P != problem.H else ""
    return LayerExplanation(
        layer=number,
        sizes=f"I = {problem.I}, H = {problem.H}{projection}",
        small=small,
        linear=None,
        **vars(explain_recurrent(problem, rows, trains=trains)),
    )


def _unless_replaced(layer: nn.Module) -> str:
    """What the call line adds where the explanation holds only as far as the layer's own forward is run."""
    if "forward" not in vars(layer):
        return ""
    return "; its forward was replaced on the instance, this is what that of its class does"


def _problem(layer: RecurrentLayer, sequences: Sequences, number: int) -> Problem:
    """The operator's problem of stacked layer number `number`, with the dtype that autocast leaves."""
    rows, packed = sequences.rows, sequences.batch_sizes is not None
    T = rows.shape[0] if sequences.batch_sizes is None else sequences.batch_sizes.shape[0]
    D, P = layer._num_directions, layer._output_size
    return Problem(
        cell=layer._cell,
        T=T,
        B=sequences.batch_size,
        I=D * P if number else layer.input_size,
        H=layer.hidden_size,
        P=P,
        D=D,
        N=rows.shape[0] if packed else T * sequences.batch_size,
        packed=packed,
        batch_first=sequences.batch_first and number == layer.num_layers - 1,
        checkpoint_every=layer.checkpoint_every,
        dtype=_dtype_of(rows),
    )


def _explain_attention(number: int, attention: Attention) -> LayerExplanation:
    layer, query = attention.layer, attention.query
    batch_dim = 0 if layer.batch_first else 1
    sequence_dim = 1 - batch_dim if query.dim() == 3 else 0
    T, S = query.shape[sequence_dim], attention.key.shape[sequence_dim]
    if attention.cache is not None:
        S = attention.cache.length_with(S)
    B, H = query.shape[batch_dim] if query.dim() == 3 else 1, layer.num_heads
    dtype, trains = _dtype_of(query), _trains(query, attention.key, *layer.parameters())
    sizes = (B, H, T, S, layer.head_dim)
    told = explain_attention(
        query, dtype, sizes, restrictions(attention), partial(attention.operator_call, sizes, dtype),
        trains=trains,
    )  # fmt: skip
    return LayerExplanation(
        layer=number,
        sizes=f"{attention.name}, B = {B}, H = {H}, T = {T}, S = {S}, D = {layer.head_dim}",
        small=attention.small,
        linear=projection(attention),
        rotary=rotation(attention, dtype),
        **vars(replace(told, reason=told.reason + _unless_replaced(layer))),
    )
