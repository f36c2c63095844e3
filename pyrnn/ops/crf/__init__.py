"""A linear-chain conditional random field: the public operators, their passes, their route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyrnn import reference
from pyrnn._checks import check_all_dense, check_like, lengths_tensor
from pyrnn._native_args import accumulation_dtype, require_readable_storage
from pyrnn.ops._operator import Operator, Route, Spec, can_bypass_dispatcher
from pyrnn.ops.crf import cpu
from pyrnn.ops.crf.call import TENSORS, Call


def crf_log_partition(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor | None = None,
    end: Tensor | None = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
) -> Tensor:
    """The logarithm of the sum over all paths of tags, of exp of their score.

    A path y of a row of L steps has the score

        s(y) = start[y_1] + sum_t emissions[t, y_t] + sum_{t > 1} transitions[y_{t-1}, y_t] + end[y_L]

    and log Z = log sum_y exp s(y), so that s(y) - log Z is the logarithm of the path's probability. The
    derivatives of log Z are the marginal probabilities of tags and of pairs of tags.

    -inf in any tensor forbids a tag or a transition. A row none of whose paths is allowed has log Z = -inf
    and derivatives of zero; a row of length 0 has log Z = 0. Whatever stands behind a length, NaN included,
    reaches neither results nor derivatives.

    The kernels compute the first derivative; higher ones, and forward-mode ones, differentiate
    `pyrnn.reference.crf_log_partition`.

    Args:
        emissions: [T, B, C], float32, float64 or bfloat16 on the CPU for the kernels; any other floating
            dtype or device takes the reference. Rows of tags are read where they lie.
        transitions: [C, C], from the tag of the row to that of the column.
        start: [C], or None for zeros.
        end: [C], or None for zeros.
        lengths: [B] int32 or int64 in [0, T], in any order, or a list of them; None: all T.

    Returns:
        [B], float64 for float64 emissions, else float32: sums over a sequence are too large for less.

    Raises:
        TypeError: a tensor is none or is not dense, the emissions are not floating point, or lengths are no
            integers.
        ValueError: a shape, dtype, device or length does not fit the others, or the storage of a tensor does
            not hold all of it.

    Source: Lafferty, McCallum and Pereira, Conditional Random Fields (2001), section 3; the forward-backward
    recursions of Rabiner, A Tutorial on Hidden Markov Models (1989), section III.

    Example:
        >>> import torch
        >>> from pyrnn.ops import crf_log_partition
        >>> crf_log_partition(torch.zeros(3, 2, 2), torch.zeros(2, 2), lengths=[3, 1]).exp().round()  # paths
        tensor([8., 2.])
    """
    return _operator(*_given(emissions, transitions, start, end, lengths))


def crf_viterbi(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor | None = None,
    end: Tensor | None = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """The path of the highest score of each row, and that score.

    Scores are those of `crf_log_partition`. Of equally good paths it is the one with the lower tag at the
    last step where they differ. It has no derivative: nothing is recorded.

    Args:
        emissions: [T, B, C].
        transitions: [C, C].
        start: [C], or None for zeros.
        end: [C], or None for zeros.
        lengths: [B] in [0, T], or None: all T.

    Returns:
        tags [T, B] int64, 0 behind lengths, and scores [B], of the dtype of sums.

    Raises:
        TypeError, ValueError: as `crf_log_partition`.

    Source: Viterbi, Error bounds for convolutional codes (1967); Forney, The Viterbi algorithm (1973).

    Example:
        >>> import torch
        >>> from pyrnn.ops import crf_viterbi
        >>> emissions = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
        >>> stay = torch.tensor([[5.0, 0.0], [0.0, 0.0]])  # from tag 0 to tag 0
        >>> tags, scores = crf_viterbi(emissions, stay)
        >>> tags.T, scores
        (tensor([[0, 0]]), tensor([9.]))
    """
    given = _given(emissions, transitions, start, end, lengths)
    with torch.no_grad():
        if can_bypass_dispatcher(given) and crf_route(emissions).path == "native":
            return cpu.viterbi(Call.for_kernels(*given))
        Call._make(given).check()
        require_readable_storage(given)
        return reference.crf_viterbi(*given)


def crf_route(emissions: Tensor) -> Route:
    """Who computes `crf_log_partition` for these emissions, under the transforms active now.

    Example:
        >>> import torch
        >>> from pyrnn.ops import crf_route
        >>> crf_route(torch.zeros(1)).path
        'native'
    """
    return _operator.route(emissions)


def _given(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor | None,
    end: Tensor | None,
    lengths: Tensor | Sequence[int] | None,
) -> tuple[Any, ...]:
    """The tensors of a call."""
    ends = lengths if lengths is None or isinstance(lengths, Tensor) else lengths_tensor(lengths)
    given = (emissions, transitions, start, end, ends)
    check_all_dense(TENSORS, given, required=2)
    return given


# -------------------------------------------------------------------------------------------- kernels


def _infer(*tensors: Tensor | None) -> Tensor:
    return cpu.forward(Call.for_kernels(*tensors), train=False)[0]


def _forward(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    return cpu.forward(Call.for_kernels(*tensors), train=True)


def _backward(grad: Tensor, *args: Any) -> tuple[Tensor, ...]:
    """Gradients of emissions, transitions, start and end."""
    call, kept, needs = Call.for_kernels(*args[:5]), args[5:7], args[7]
    T, B, C = call.emissions.shape
    dtype = accumulation_dtype(call.emissions.dtype)
    names, shapes = ("the gradient of log_z", "log_z", "alpha"), ((B,), (B,), (T, B, C))
    for name, tensor, shape in zip(names, (grad, *kept), shapes, strict=True):
        check_like(name, tensor, shape, dtype, call.emissions, "emissions", "that of the forward's")
    gradients = _empty_gradients(call, needs)
    cpu.backward(call, grad, kept, gradients, needs)
    return gradients


def _reference(*tensors: Any) -> Tensor:
    call = Call._make(tensors)
    call.check()
    require_readable_storage(call)
    return reference.crf_log_partition(*call)


def _fake_forward(*tensors: Any) -> tuple[Tensor, ...]:
    call = Call._make(tensors)
    call.check()
    return call.empty_results(train=True)


def _fake_backward(grad: Tensor, *args: Any) -> tuple[Tensor, ...]:
    return _empty_gradients(Call._make(args[:5]), args[7])


def _empty_gradients(call: Call, needs: Sequence[bool]) -> tuple[Tensor, ...]:
    T, B, C = call.emissions.shape
    shapes = ((T, B, C), (C, C), (C,), (C,))
    return tuple(
        call.emissions.new_empty(shape if need else (0,)) for shape, need in zip(shapes, needs, strict=True)
    )


_operator = Operator(
    Spec(
        name="crf_log_partition",
        tensors="Tensor emissions, Tensor transitions, Tensor? start, Tensor? end, Tensor? lengths",
        results="Tensor log_z",
        saved="Tensor alpha",
        saved_results=(0, 1),
        differentiable=(0, 1, 2, 3),
        devices=("cpu",),
        autocasts=False,
        infer=_infer,
        forward=_forward,
        backward=_backward,
        reference=_reference,
        fake_forward=_fake_forward,
        fake_backward=_fake_backward,
    )
)
