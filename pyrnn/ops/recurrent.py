"""One recurrent layer over a whole sequence: the public operator and the route that each call takes."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.ops import _library
from pyrnn.ops._checks import as_bool, as_checkpoint, check_all_dense
from pyrnn.ops._problem import WEIGHT_NAMES
from pyrnn.ops._recurrent_autograd import Forward, Recurrent
from pyrnn.ops._recurrent_kernels import Call, backend_of, infer, recurrent_op
from pyrnn.ops._support import why_not_dtype
from pyrnn.reference import RecurrentOutput
from pyrnn.reference.recurrent import Weights

_NO_WEIGHTS = (None,) * 5
_TENSORS = (
    *("input", "h0", "c0", "lengths", "batch_sizes"),
    *WEIGHT_NAMES,
    *(f"{name}_reverse" for name in WEIGHT_NAMES),
)


class Route(NamedTuple):
    """Who computes a call, and why."""

    path: Literal["native", "reference"]
    reason: str


def recurrent(
    cell: str,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: tuple[Weights, ...],
    *,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
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
        batch_first: whether input, output and cells have the batch before the time.
        return_cells: also return the cell state of every step. LSTM only.
        checkpoint_every: 0 keeps every gate for the backward pass; k > 0 keeps the state of every k-th step
            and computes the gates again. Less memory, one more forward pass. No effect on the reference.

    Returns:
        output [T, B, D*P] (laid out as the input is), h_n [D, B, P], c_n [D, B, H] and cells, like output
        with H for P. c_n and cells have shape [0] where they do not apply.

    Raises:
        TypeError: a tensor is none or is not dense; the input is not floating point; lengths or batch_sizes
            are not integers; an option has another type.
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
    """
    if not isinstance(cell, str):
        raise TypeError(f"cell should be of type str, got: {type(cell).__name__}")
    if type(batch_first) is not bool:
        batch_first = as_bool("batch_first", batch_first)
    if type(return_cells) is not bool:
        return_cells = as_bool("return_cells", return_cells)
    checkpoint_every = as_checkpoint(checkpoint_every)
    data = (cell, input, h0, c0, lengths, batch_sizes)
    args: tuple[Any, ...] = (*data, *_flat_weights(weights), batch_first, return_cells, checkpoint_every)
    if input is not None and _library.unwatched(args[1:16]):
        if not _library.wants_gradient(args[1:16]):
            return RecurrentOutput(*infer(*args))
        if route(input).path == "native":
            return RecurrentOutput(*Recurrent.apply(*args)[:4])  # type: ignore[index]
    else:
        check_all_dense(_TENSORS, args[1:16], required=1)
    # The operator cannot be differentiated by torch.func, which knows no operator's backward: it is given the
    # autograd.Function itself, whose backward it can transform in turn.
    if not torch.compiler.is_compiling() and _library.functorch_differentiates():
        device_type = input.device.type
        if _library.autocast_enabled(device_type):
            args = _library.autocast(args, device_type)
        if route(args[1]).path == "native":
            return RecurrentOutput(*Forward.apply(*args)[:4])  # type: ignore[misc]
        return Call.of(*args).by_reference()
    return RecurrentOutput(*recurrent_op(*args))


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
    device_type, dtype = input.device.type, input.dtype
    if _library.autocast_enabled(device_type) and dtype is not torch.float64:
        dtype = torch.get_autocast_dtype(device_type)
    backend = backend_of(device_type)
    if backend is None:
        why = f": {_native.why_no_cuda()}" if device_type == "cuda" else ""
        return Route("reference", f"there is no native kernel for device type {device_type!r}{why}")
    if why := why_not_dtype(backend, dtype):
        return Route("reference", why)
    if _library.forward_mode_active():
        return Route("reference", "a forward-mode derivative is being taken, and the kernels have none")
    return Route("native", f"{backend.upper()} kernels for {dtype}")


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


def _recurrent_autograd(*args: Any) -> tuple[Tensor, ...]:
    """Autograd's kernel of `pyrnn::recurrent`."""
    call = Call.of(*args)
    if _library.forward_mode_active() or _library.functorch_differentiates():
        return call.by_reference()
    differentiable = (*call[1:4], *call.weights)
    if not torch.is_grad_enabled() or not any(t is not None and t.requires_grad for t in differentiable):
        with _library.BelowAutograd():
            return recurrent_op(*args)
    if route(call.input).path == "reference":
        return call.by_reference()
    return Forward.apply(*args)[:4]  # type: ignore[index]


_library.library.impl("recurrent", _recurrent_autograd, "Autograd")
