"""Cross-entropy of a linear layer's outputs, which are never held whole: operator, passes, route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from pyrnn._checks import as_integer, as_number, check_all_dense
from pyrnn._dispatch import any_autocast_enabled, autocast_disabled, autocast_enabled
from pyrnn._native_args import (
    accumulation_dtype,
    contiguous,
    on_huge_pages,
    require_readable_storage,
)
from pyrnn.ops._operator import Operator, Part, Route, Spec, cast_tensor
from pyrnn.ops.linear_cross_entropy.call import Call, run
from pyrnn.reference.linear_cross_entropy import linear_cross_entropy as reference

Reduction = Literal["mean", "sum"]
_TENSORS = ("input", "weight", "bias", "targets", "weights")


def linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of softmax(x W^T + b) with targets, which never holds the logits of all rows.

    L = sum_n w_n (-(1 - e) log p_n[t_n] - e / V sum_v log p_n[v]),  p_n = softmax(x_n W^T + b)

    Rows are taken in chunks, whose logits fit into 32 MiB. Where gradients are recorded each chunk is done
    with at once: its product, the loss, the gradient of the logits in their place, and what it adds to those
    of x, W and b, which are scaled by the gradient of the loss in the backward pass. That is the reason why
    there is no loss of each row: `pyrnn.losses.sequence_cross_entropy` of `pyrnn.ops.linear` has that. A row
    whose target is `ignore_index`, or whose weight is zero, is left out, whatever it holds, and costs
    nothing. The first derivative is computed so; higher ones, and forward-mode ones, differentiate
    `pyrnn.reference.linear_cross_entropy`, which holds all logits.

    Args:
        input: x, [..., H], float32, float64 or bfloat16 for the kernel; on CUDA, where the package has its
            CUDA module, torch's own operators take chunks as well. Any other dtype or device takes the
            reference. torch.autocast casts input, weight and bias.
        weight: W, [V, H], of the input's dtype.
        targets: [...] int64, class ids in [0, V), or `ignore_index`.
        bias: b, [V], of the input's dtype, or None for zeros.
        weights: [...] floating point, or None for ones. They may require gradients; zero gets none.
        ignore_index: the target of rows that do not count.
        reduction: "sum", or "mean", which divides by the sum of the weights of rows that count; it is 0 where
            none does.
        label_smoothing: e in [0, 1].

    Returns:
        A scalar in float64 for float64, else in float32.

    Raises:
        TypeError: a tensor is none or is not dense, or a dtype does not fit.
        ValueError: a shape, device, reduction, ignore_index or label_smoothing does not fit, or the storage
            of a tensor does not hold all of it.
        IndexError: on the CPU, a target outside [0, V) that counts.

    Source: Wijmans et al., "Cut your losses in large-vocabulary language models", 2024, for the idea that
    logits need not be held; Szegedy et al., "Rethinking the Inception architecture for computer vision",
    2016, for label smoothing.

    Example:
        >>> import torch
        >>> from pyrnn.ops import linear_cross_entropy
        >>> targets = torch.tensor([[4, 9], [0, -100]])
        >>> linear_cross_entropy(torch.zeros(2, 2, 8), torch.zeros(65, 8), targets)
        tensor(4.1744)
    """
    check_all_dense(_TENSORS, (input, weight, bias, targets, weights), required=2)
    check_all_dense(("targets",), (targets,), required=1)
    label_smoothing = as_number("label_smoothing", label_smoothing)
    ignore_index = as_integer("ignore_index", ignore_index)
    if not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"ignore_index must be an int64, as the targets are, got {ignore_index}")
    if reduction not in ("mean", "sum"):
        raise ValueError(
            f"reduction must be 'mean' or 'sum', got {reduction!r}; for the loss of each row take "
            "pyrnn.losses.sequence_cross_entropy of pyrnn.ops.linear"
        )
    if input.dim() == 0 or targets.shape != input.shape[:-1]:
        raise ValueError(
            f"expected input [..., H] and targets [...], got {list(input.shape)} and {list(targets.shape)}"
        )
    if targets.dtype is not torch.int64:
        raise TypeError(f"targets must be int64, got {targets.dtype}; convert them with targets.long()")
    if weights is not None and (weights.shape != targets.shape or not weights.is_floating_point()):
        raise ValueError(
            f"weights must be floating point and have the targets' shape {list(targets.shape)}, got "
            f"{weights.dtype} of shape {list(weights.shape)}"
        )
    device_type = input.device.type
    if any_autocast_enabled() and autocast_enabled(device_type):
        input, weight, bias = (cast_tensor(tensor, device_type) for tensor in (input, weight, bias))
        with autocast_disabled(device_type):
            return _reduced(
                Call(input, weight, bias, targets, weights, label_smoothing, ignore_index), reduction
            )
    return _reduced(Call(input, weight, bias, targets, weights, label_smoothing, ignore_index), reduction)


def linear_cross_entropy_route(input: Tensor) -> Route:
    """Who computes `linear_cross_entropy` for this input, under the transforms and autocast active now.

    Example:
        >>> import torch
        >>> from pyrnn.ops import linear_cross_entropy_route
        >>> linear_cross_entropy_route(torch.zeros(1, 1)).path
        'native'
    """
    found = _operator.route(cast_tensor(input, input.device.type) if _casts(input) else input)
    if found.path == "native" and not input.is_cpu:
        return Route("native", "torch's operators on chunks of rows: CUDA has no kernel of its own for this")
    return found


def _casts(input: Tensor) -> bool:
    return any_autocast_enabled() and autocast_enabled(input.device.type)


def _reduced(call: Call, reduction: Reduction) -> Tensor:
    input, targets, weights = call.input, call.targets, call.weights
    rows, flat = input.reshape(targets.numel(), input.shape[-1]), targets.reshape(-1)
    shares = None if weights is None else weights.reshape(-1).to(accumulation_dtype(input.dtype))
    records = torch.is_grad_enabled()
    wanted = [records and t is not None and t.requires_grad for t in (input, call.weight, call.bias)]
    loss = _operator(*call._replace(input=rows, targets=flat, weights=shares), wanted)
    if reduction == "sum":
        return loss
    alive = flat != call.ignore_index
    total = alive.sum() if shares is None else shares.where(alive, 0).sum()
    return loss / total.to(loss.dtype).masked_fill(total == 0, 1)


# -------------------------------------------------------------------------------------------- kernels
# The arguments of an operator's passes are those of a `Call`, and which gradients the caller may ask for.


def _forward(*args: Any) -> tuple[Tensor, ...]:
    """loss, losses [N], and for a loss whose gradient is one those of input, weight and bias."""
    *arguments, wanted = args
    return _computed(Call._make(arguments), wanted)


def _infer(*args: Any) -> Tensor:
    return _computed(Call._make(args[:-1]), [False] * 3)[0]


def _computed(call: Call, wanted: Sequence[bool]) -> tuple[Tensor, ...]:
    call.check()
    results = call.empty_results(wanted)
    run(call.contiguous(), wanted, results)
    return results


def _backward(g_loss: Tensor, *args: Any) -> tuple[Tensor, ...]:
    """Gradients of input, weight, bias and weights."""
    call, (losses, *of_one), wanted, needs = _backward_call(args)
    found = [*of_one, losses]
    if any(need and not had for need, had in zip(needs, wanted, strict=False)):
        # Under a transform the call did not see who would ask.
        _, losses, *of_one = _computed(call, list(needs[:3]))
        found = [*of_one, losses]
    gradients = [
        g_loss.new_empty(0) if not need else torch.empty_like(d) for d, need in zip(found, needs, strict=True)
    ]
    for gradient, of_loss, need in zip(gradients, found, needs, strict=True):
        if need:
            if gradient.is_cpu:
                on_huge_pages(gradient)
            torch.mul(contiguous(of_loss), g_loss, out=gradient)
    return tuple(gradients)


def _reference(*args: Any) -> Tensor:
    call = Call._make(args[:-1])
    call.check()
    require_readable_storage(call.tensors)
    return reference(*call)


def _fake_forward(*args: Any) -> tuple[Tensor, ...]:
    *arguments, wanted = args
    call = Call._make(arguments)
    call.check()
    return call.empty_results(wanted)


def _fake_backward(g_loss: Tensor, *args: Any) -> tuple[Tensor, ...]:
    call, (losses, *_), _, needs = _backward_call(args)
    d_weights = torch.empty_like(losses) if needs[3] else g_loss.new_empty(0)
    return *call.empty_gradients(needs[:3]), d_weights


def _backward_call(
    args: tuple[Any, ...],
) -> tuple[Call, tuple[Tensor, ...], Sequence[bool], Sequence[bool]]:
    """The call, the four saved results, which gradients it made, and which are needed."""
    return Call(*args[:5], *args[9:11]), args[5:9], *args[11:13]


def _flops(part: Part, args: tuple[Any, ...]) -> int:
    """A product of all rows, one more for each gradient that is made on the way."""
    if part == "backward":
        return 0
    (N, H), (V, _), wanted = args[0], args[1], args[7]
    return 2 * N * H * V * (1 + (sum(wanted[:2]) if part == "forward" else 0))


_operator = Operator(
    Spec(
        name="linear_cross_entropy",
        tensors="Tensor input, Tensor weight, Tensor? bias, Tensor targets, Tensor? weights",
        options="float label_smoothing, int ignore_index, bool[3] wanted",
        results="Tensor loss",
        saved="Tensor losses, Tensor d_input, Tensor d_weight, Tensor d_bias",
        differentiable=(0, 1, 2, 4),
        saved_results=(1, 2, 3, 4),
        devices=("cpu", "cuda"),
        autocasts=False,
        infer=_infer,
        forward=_forward,
        backward=_backward,
        reference=_reference,
        fake_forward=_fake_forward,
        fake_backward=_fake_backward,
        flops=_flops,
    )
)
