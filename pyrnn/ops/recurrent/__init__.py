"""One recurrent layer over a whole sequence: the public operator, its kernels, and the route of a call."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrnn import _native, reference
from pyrnn._checks import as_bool, check_like
from pyrnn._dispatch import autocast_disabled
from pyrnn._native_args import copied, require_readable_storage, require_storage
from pyrnn.ops._library import Kernel, VmapRule, loop_over_samples
from pyrnn.ops._operator import Operator, Part, Route, Spec
from pyrnn.ops.recurrent import cpu, cuda
from pyrnn.ops.recurrent.call import (
    WEIGHT_NAMES,
    Call,
    as_checkpoint,
    empty_gradients,
    empty_results,
    pass_through,
    workspace_shape,
)
from pyrnn.ops.recurrent.eager import EagerRecurrent
from pyrnn.reference import RecurrentOutput
from pyrnn.reference.recurrent import Weights

_NO_WEIGHTS = (None,) * 5


def recurrent(
    cell: str,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: tuple[Weights, ...],
    *,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    reset: Tensor | None = None,
    batch_first: bool = False,
    return_cells: bool = False,
    checkpoint_every: int = 0,
) -> RecurrentOutput:
    """Run one recurrent layer, in one or both directions, over a whole sequence.

    With x the input, h and c the states, s the logistic function and gates in torch's order:

    - rnn: h' = tanh or relu of (W_ih x + b_ih + W_hh h + b_hh)
    - gru: r, z = s(W x + W h + b); n = tanh(W_in x + b_in + r * (W_hn h + b_hn)); h' = (1 - z) * n + z * h
    - lstm: i, f, o = s(W x + W h + b); g = tanh(W x + W h + b); c' = f * c + i * g; h' = W_hr (o * tanh(c'))

    Derivatives: the kernels compute the first; the second and higher ones, and forward-mode ones,
    differentiate `pyrnn.reference.recurrent`. `route` says which of the two computes a call.

    Args:
        cell: "rnn_tanh", "rnn_relu", "gru" or "lstm".
        input: [T, B, I]; [B, T, I] if `batch_first`; [N, I] rows of packed data with `batch_sizes`. float32,
            float64 or bfloat16 for the kernels, on CUDA float16 too; any other floating dtype or device takes
            the reference.
        h0: initial state [D, B, P], or None for zeros; required with `batch_sizes`.
        c0: initial cell state [D, B, H], or None for zeros. LSTM only.
        weights: one group per direction (D = 1 or 2): (w_ih [G*H, I], w_hh [G*H, P], b_ih [G*H] or None,
            b_hh [G*H] or None, w_hr [P, H] or None), with G = 1, 3, 4 for rnn, gru, lstm. P = H without w_hr.
        lengths: [B] int32 or int64 in [0, T], in any order, on the CPU or where the input is. Output
            beyond a length is zero, final states are those at each sequence's own end, and the reverse
            direction starts there. A length of 0 gives h_n = h_0. On CUDA they are not read by the host, but
            brought into [0, T] without a word.
        batch_sizes: [T] int64 on the CPU, as in `torch.nn.utils.rnn.PackedSequence`.
        reset: bool, laid out as the input is without its features, and where it is: true at each step that is
            the first of a new sequence. Between it and the step before neither states nor gradients pass, in
            either direction, not even a NaN: the state is chosen, not multiplied by 0. Forward such a step
            starts from zeros, step 0 too, whatever h0 and c0 are. Nothing is reset beyond a length.
        batch_first: whether input, output and cells have the batch before the time.
        return_cells: also return the cell state of every step. LSTM only.
        checkpoint_every: 0 keeps every gate for the backward pass; k > 0 keeps the state of every k-th step
            and computes the gates again. Less memory, one more forward pass. No effect on the reference.

    Returns:
        output [T, B, D*P] (laid out as the input is), h_n [D, B, P], c_n [D, B, H] and cells, like output
        with H for P. c_n and cells have shape [0] where they do not apply.

    Raises:
        TypeError: a tensor is none or is not dense; the input is not floating point; lengths or batch_sizes
            are not integers; reset is not bool; an option has another type.
        ValueError: a shape, dtype, device, length or option does not fit the others, or the storage of a
            tensor does not hold all of it.

    Source: Elman, Finding Structure in Time (1990). Cho et al., Learning Phrase Representations using RNN
    Encoder-Decoder (2014), eq. 5-8, with the reset gate after the recurrent product. Hochreiter and
    Schmidhuber, Long Short-Term Memory (1997), with the forget gate of Gers et al. (2000). Projection: Sak et
    al. (2014).

    Example:
        >>> import torch
        >>> from pyrnn.ops import recurrent
        >>> group = (torch.randn(12, 3), torch.randn(12, 4), None, None, None)
        >>> out = recurrent("gru", torch.randn(5, 2, 3), None, None, (group,))
        >>> out.output.shape, out.h_n.shape
        (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))

        Two episodes in the second row, the later one from step 3 on:

        >>> x, reset = torch.randn(5, 2, 3), torch.zeros(5, 2, dtype=torch.bool)
        >>> reset[3, 1] = True
        >>> both = recurrent("gru", x, None, None, (group,), reset=reset).output
        >>> later = recurrent("gru", x[3:], None, None, (group,)).output
        >>> torch.allclose(both[3:, 1], later[:, 1], atol=1e-6)
        True
    """
    if not isinstance(cell, str):
        raise TypeError(f"cell should be of type str, got: {type(cell).__name__}")
    if type(batch_first) is not bool:
        batch_first = as_bool("batch_first", batch_first)
    if type(return_cells) is not bool:
        return_cells = as_bool("return_cells", return_cells)
    if type(checkpoint_every) is not int or checkpoint_every:
        checkpoint_every = as_checkpoint(checkpoint_every)
    options = (cell, batch_first, return_cells, checkpoint_every)
    tensors = (input, h0, c0, lengths, batch_sizes, reset)
    return RecurrentOutput(*_operator(*tensors, *_flat_weights(weights), *options))


def route(input: Tensor) -> Route:
    """Who computes `recurrent` for this input, under the transforms and autocast active now.

    A compiled function decides when it is traced, in the same way, except that torch.func.grad inside it, or
    over `torch.ops.pyrnn.recurrent` called directly, takes the reference.

    Example:
        >>> import torch
        >>> from pyrnn.ops import route
        >>> route(torch.zeros(1, 1, 1, dtype=torch.float16)).path
        'reference'
    """
    return _operator.route(input)


def _flat_weights(weights: tuple[Weights, ...]) -> tuple[Tensor | None, ...]:
    """The ten weight arguments of the operator."""
    try:
        sizes = [len(group) for group in weights]
    except TypeError as error:
        raise TypeError(
            "weights should be a tuple of groups (w_ih, w_hh, b_ih, b_hh, w_hr), one for each direction, "
            f"got: {type(weights).__name__}"
        ) from error
    if sizes not in ([5], [5, 5]):
        raise ValueError(
            "weights must hold one group (w_ih, w_hh, b_ih, b_hh, w_hr) for each of 1 or 2 directions, with "
            f"None for what is left out; got {len(sizes)} groups of {sizes}"
        )
    return (*weights[0], *(weights[1] if len(weights) == 2 else _NO_WEIGHTS))


# -------------------------------------------------------------------------------------------- kernels


def _kernels(input: Tensor) -> Any:
    """The module with `forward` and `backward` for an input that has kernels."""
    return cuda if input.is_cuda or _native.emulated_cuda is not None else cpu


def _infer(*args: Any) -> tuple[Tensor, ...]:
    return _run(args, train=False)[:4]


def _forward(*args: Any) -> tuple[Tensor, ...]:
    """The backward pass reads a copy of the output: users may change theirs in place, `relu_(output)`.

    Not with `checkpoint_every`, which is there to save memory: the output itself is kept then.
    """
    results, checkpoint_every = _run(args, train=True), args[-1]
    return (*results, results[0].new_empty(0) if checkpoint_every else copied(results[0]))


def _run(args: tuple[Any, ...], *, train: bool) -> tuple[Tensor, ...]:
    call = Call.for_kernels(*args)
    problem = call.problem()
    if problem.N:
        return _kernels(call.input).forward(call, problem, train=train)
    # No token: the final state is the first, and there is nothing to launch a kernel on.
    results = empty_results(call, problem, train=train)
    for state, first in zip(results[1:3], (call.h0, call.c0), strict=True):
        state.zero_() if first is None else state.copy_(require_storage(first))
    return results


def _backward(*args: Any) -> tuple[Tensor, ...]:
    grads, (output, workspace), needs = args[:4], args[20:22], args[26]
    call = Call.for_kernels(*args[4:20], *args[22:26])
    problem = call.problem()
    shape, dtype = workspace_shape(problem)
    for name, kept, expected, kind in (
        ("output", output, problem.output_shape, call.input.dtype),
        ("workspace", workspace, shape, dtype),
    ):
        check_like(name, kept, expected, kind, call.input, "input", f"that of the forward's {name}")
    shapes = (problem.output_shape, problem.h_shape, problem.c_shape, problem.cells_shape)
    for name, grad, expected in zip(("output", "h_n", "c_n", "cells"), grads, shapes, strict=True):
        if grad is not None:
            label, meaning = f"the gradient of {name}", "that of its tensor"
            check_like(label, grad, expected, call.input.dtype, call.input, "input", meaning)
    if problem.N == 0:
        return tuple(pass_through(empty_gradients(call, needs), grads))
    return tuple(_kernels(call.input).backward(call, problem, grads, output, workspace, needs=needs))


def _reference(*args: Any) -> RecurrentOutput:
    call = Call.of(*args)
    problem = call.problem()
    require_readable_storage((*call[:6], *call.weights))
    with autocast_disabled(call.input.device.type):
        return reference.recurrent(
            call.cell,
            *call[:3],
            reference.group_weights(call.weights),
            lengths=call.lengths,
            batch_sizes=call.batch_sizes,
            reset=call.reset,
            batch_first=problem.batch_first,
            return_cells=call.return_cells,
        )


def _fake_forward(*args: Any) -> tuple[Tensor, ...]:
    call = Call.of(*args)
    results = empty_results(call, call.problem(), train=True)
    return (*results, results[0].new_empty(0) if call.checkpoint_every else torch.empty_like(results[0]))


def _fake_backward(*args: Any) -> tuple[Tensor, ...]:
    return tuple(empty_gradients(Call.of(*args[4:20], *args[22:26]), args[26]))


def _vmap(part: Part, operator: Kernel) -> VmapRule | None:
    """Fold the mapped dimension into the batch; with mapped weights, or packed data, one call a sample."""
    if part != "call":
        return None

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        call, V = Call.of(*args), info.batch_size
        if call.batch_sizes is not None or any(dim is not None for dim in in_dims[6:16]):
            return loop_over_samples(operator)(info, in_dims, *args)

        def fold(tensor: Tensor | None, in_dim: int | None, batch_dim: int) -> Tensor | None:
            if tensor is None:
                return None
            at_batch = (
                tensor.unsqueeze(batch_dim).expand(*tensor.shape[:batch_dim], V, *tensor.shape[batch_dim:])
                if in_dim is None
                else tensor.movedim(in_dim, batch_dim)
            )
            return at_batch.flatten(batch_dim, batch_dim + 1)

        def unfold(tensor: Tensor, batch_dim: int) -> tuple[Tensor, int]:
            if tensor.dim() == 1:  # does not apply: nothing in every sample
                return tensor.new_empty(V, 0), 0
            return tensor.unflatten(batch_dim, (V, tensor.shape[batch_dim] // V)), batch_dim

        rows_dim = 0 if call.batch_first else 1
        folded = map(fold, call[:4], in_dims[:4], (rows_dim, 1, 1, 0))
        reset = fold(call.reset, in_dims[5], rows_dim)
        results = operator(*folded, None, reset, *args[6:])
        tensors, out_dims = zip(*map(unfold, results, (rows_dim, 1, 1, rows_dim)), strict=True)
        return tensors, out_dims

    return rule


def _flops(part: Part, args: tuple[Any, ...]) -> int:
    """Padding counts, as in torch's products: the shapes do not tell the lengths."""
    tensors, options = (args[4:20], args[22:]) if part == "backward" else (args[:16], args[16:])
    rows = math.prod(tensors[0][:-1])

    def products(*names: str) -> int:
        """One product of all rows with each of these weights."""
        shapes = (tensors[6 + n] for n in range(10) if WEIGHT_NAMES[n % 5] in names)
        return sum(2 * rows * math.prod(shape) for shape in shapes if shape is not None)

    every = products("w_ih", "w_hh", "w_hr")
    if part != "backward":
        return every
    checkpoint_every, needs = options[3], options[4]
    steps = products("w_hh", "w_hr") + (products("w_ih") if needs[0] else 0)
    return steps + (every if any(needs[3:]) else 0) + (every if checkpoint_every else 0)


_WEIGHTS = "Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, Tensor? w_hr"
_REVERSE = ", ".join(f"Tensor? {name}_reverse" for name in WEIGHT_NAMES)

_operator = Operator(
    Spec(
        name="recurrent",
        tensors=f"Tensor input, Tensor? h0, Tensor? c0, Tensor? lengths, Tensor? batch_sizes, "
        f"Tensor? reset, {_WEIGHTS}, {_REVERSE}",
        options="str cell, bool batch_first, bool return_cells, int checkpoint_every",
        results="Tensor output, Tensor h_n, Tensor c_n, Tensor cells",
        saved="Tensor workspace, Tensor history",
        saved_results=(5, 4),
        stand_ins={5: 0},
        differentiable=(0, 1, 2, *range(6, 16)),  # all but lengths, batch_sizes and reset
        devices=("cpu", "cuda"),
        autocasts=True,
        infer=_infer,
        forward=_forward,
        backward=_backward,
        reference=_reference,
        fake_forward=_fake_forward,
        fake_backward=_fake_backward,
        vmap=_vmap,
        flops=_flops,
    )
)

#: Whose kernels serve tensors of a kind of device.
backend_of = _operator.backend_of

#: The same for small calls of plain tensors, or None where it takes `recurrent`.
eager_recurrent = EagerRecurrent(_operator)
