"""Losses of sequences: one weighted sum serves a target at every step, at the last, or anything between.

Dimension key: T time, B batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pyrnn import ops
from pyrnn._checks import (
    as_integer,
    as_number,
    check_all_dense,
    check_device,
    check_device_or_cpu,
    check_range,
    is_readable,
    lengths_tensor,
)

Reduction = Literal["mean", "sum", "none"]

#: Target that carries no loss; the default `ignore_index` of `torch.nn.functional.cross_entropy`.
IGNORE = -100


def sequence_loss(
    divergence: Tensor,
    *,
    weights: Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """L = sum_tb w_tb d_tb, where d_tb measures how far the output at step t of sequence b is off its target.

    Weights of one train every step, `last_step_weights` the last alone, a ramp stresses the end. A place with
    weight zero, or beyond its sequence's length, is masked: whatever its divergence holds, NaN and inf
    included, it changes neither the value nor a gradient, and its own gradient is zero.

    Args:
        divergence: [T, B] floating point, for instance a cross-entropy or a squared distance.
        weights: [T], [T, 1] or [T, B], floating point or bool; None weighs every step with one. They may
            require gradients; a weight of exactly zero gets none.
        lengths: [B] integers in [0, T], a tensor or a list: steps of each sequence. Their range is checked
            where they lie on the CPU.
        reduction: "mean" divides the sum by the sum of the weights that are not masked, "sum" does not, and
            "none" gives the terms w_tb d_tb, [T, B].

    Returns:
        A scalar, or [T, B], in the divergence's dtype; sums of float16 and bfloat16 are taken in float32.

    Raises:
        ValueError: a shape, length or reduction does not fit, or the mean's weights sum to zero. On other
            devices than the CPU, under torch.compile and functorch such a mean is NaN instead, for to look
            would stall or break the graph.
        TypeError: an argument has another dtype.

    Source: Dai and Le, "Semi-supervised sequence learning", 2015, for weights that grow with the step.

    Example:
        >>> divergence = torch.tensor([[1.0, 2.0], [3.0, float("inf")], [5.0, float("nan")]])
        >>> sequence_loss(divergence, lengths=[3, 1])
        tensor(2.7500)
        >>> sequence_loss(divergence, weights=last_step_weights(3, [3, 1]), reduction="sum")
        tensor(7.)
        >>> sequence_loss(divergence, weights=torch.linspace(0, 1, 3), lengths=[3, 1], reduction="sum")
        tensor(6.5000)
    """
    check_all_dense(("divergence", "weights"), (divergence, weights), required=1)
    if divergence.dim() != 2:
        raise ValueError(f"divergence must have shape [T, B], got {list(divergence.shape)}")
    if not divergence.is_floating_point():
        raise TypeError(f"divergence must be floating point, got {divergence.dtype}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    T, B = divergence.shape
    wide = torch.float32 if divergence.dtype in (torch.float16, torch.bfloat16) else divergence.dtype
    alive = _alive(divergence, weights, lengths)
    # where() stands before the product: NaN times a weight of zero is NaN, in the backward pass too.
    terms = divergence.where(alive, 0)
    shares = alive.to(wide)
    if weights is not None and weights.dtype is not torch.bool:
        shares = _over_batch(weights, divergence).to(wide).where(alive, 0)
        terms = terms * shares
    if reduction == "none":
        return terms.to(divergence.dtype)
    total = terms.sum(dtype=wide)
    if reduction == "mean":
        share = shares.sum()
        if _readable(share) and share.item() == 0:
            raise ValueError(_nothing_counts(T, B))
        total = total / share
    return total.to(divergence.dtype)


def sequence_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """`sequence_loss` of d_tb = -log softmax(logits_tb)[target_tb], the negative log-likelihood in nats.

    A place is masked whose target is `IGNORE`, whose weight is zero, or which lies beyond its sequence's
    length; its logits may hold anything, its target too. Without masks and weights the value and gradient are
    those of `torch.nn.functional.cross_entropy` on [T*B, V], and the logits are copied no oftener than there.
    Masks cost one copy more, and so do targets that lie elsewhere than on the CPU.

    Args:
        logits: [T, B, V] floating point.
        targets: [T, B] int64: class ids in [0, V), or `IGNORE`.
        weights: as in `sequence_loss`.
        lengths: as in `sequence_loss`.
        reduction: as in `sequence_loss`.
        label_smoothing: e in [0, 1]: the distribution aimed at gives e / V to every class, the rest to the
            target. Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016.

    Returns:
        A scalar, or [T, B], in the logits' dtype.

    Raises:
        ValueError: a shape does not fit, or as `sequence_loss`.
        TypeError: an argument has another dtype.
        IndexError: a target outside [0, V) that is not masked.

    Example:
        >>> logits, targets = torch.zeros(3, 2, 65), torch.tensor([[4, 9], [0, IGNORE], [7, IGNORE]])
        >>> sequence_cross_entropy(logits, targets)
        tensor(4.1744)
    """
    check_all_dense(("logits", "targets", "weights"), (logits, targets, weights), required=2)
    label_smoothing = as_number("label_smoothing", label_smoothing)
    if logits.dim() != 3 or logits.shape[2] == 0:
        raise ValueError(f"logits must have shape [T, B, V] with V at least 1, got {list(logits.shape)}")
    if targets.shape != logits.shape[:2]:
        raise ValueError(
            f"targets must have the shape [T, B] = {list(logits.shape[:2])} of the logits, "
            f"got {list(targets.shape)}"
        )
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, got {logits.dtype}")
    if targets.dtype is not torch.int64:
        raise TypeError(f"targets must be int64, got {targets.dtype}; convert them with targets.long()")
    check_device("targets", targets, logits, "logits")
    alive = _alive(logits[..., 0], weights, lengths) & (targets != IGNORE)
    if not _readable(alive) or not alive.all():
        # The backward pass of log-softmax makes NaN of NaN logits, whatever the gradient that comes in.
        logits = logits.where(alive.unsqueeze(2), 0)
        targets = targets.where(alive, IGNORE)
    divergence = F.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORE,
        reduction="none",
        label_smoothing=label_smoothing,
    ).view_as(targets)
    if weights is not None and weights.dtype is not torch.bool:
        weights = _over_batch(weights, divergence).where(alive, 0)
    else:
        weights = alive
    return sequence_loss(divergence, weights=weights, reduction=reduction)


def sequence_linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """`sequence_cross_entropy` of the logits hidden W^T + b, which are never held whole.

    A place that is masked there costs nothing here, whatever its row of `hidden` holds. See
    `pyrnn.ops.linear_cross_entropy` for how it is computed.

    Args:
        hidden: [T, B, H] floating point.
        weight: W, [V, H], of the same dtype.
        targets: [T, B] int64: class ids in [0, V), or `IGNORE`.
        bias: b, [V], or None for zeros.
        weights: as in `sequence_loss`.
        lengths: as in `sequence_loss`.
        reduction: "mean" or "sum", as in `sequence_loss`.
        label_smoothing: as in `sequence_cross_entropy`.

    Returns:
        A scalar in float64 for float64, else in float32.

    Raises:
        ValueError: a shape or option does not fit, or as `sequence_loss`.
        TypeError: an argument has another dtype.
        IndexError: a target outside [0, V) that is not masked.

    Example:
        >>> hidden, targets = torch.zeros(3, 2, 8), torch.tensor([[4, 9], [0, IGNORE], [7, IGNORE]])
        >>> sequence_linear_cross_entropy(hidden, torch.zeros(65, 8), targets)
        tensor(4.1744)
    """
    check_all_dense(("hidden", "targets", "weights"), (hidden, targets, weights), required=2)
    if hidden.dim() != 3 or targets.shape != hidden.shape[:2]:
        raise ValueError(
            f"expected hidden [T, B, H] and targets [T, B], got {list(hidden.shape)} and "
            f"{list(targets.shape)}"
        )
    check_device("targets", targets, hidden, "hidden")
    if weights is not None or lengths is not None:
        targets = targets.where(_alive(targets, weights, lengths), IGNORE)
    shares = None
    if weights is not None and weights.dtype is not torch.bool:
        shares = _over_batch(weights, targets)
    if reduction == "mean":
        counted = targets != IGNORE
        total = counted.sum() if shares is None else shares.where(counted, 0).sum()
        if _readable(total) and total.item() == 0:
            raise ValueError(_nothing_counts(*targets.shape))
    return ops.linear_cross_entropy(
        hidden,
        weight,
        targets,
        bias,
        weights=shares,
        ignore_index=IGNORE,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def last_step_weights(
    T: int,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    batch: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weights that are one at each sequence's last step and zero elsewhere: one output for a whole sequence.

    Args:
        T: steps, at least 1.
        lengths: [B] integers in [0, T], a tensor or a list; a sequence of length 0 gets no weight. None:
            every sequence has T steps.
        batch: B, where there are no lengths to tell it; without it the weights serve any batch.
        dtype: of the weights: floating point or bool.

    Returns:
        [T, B], or [T, 1] without lengths and batch; beside `lengths`, where these are a tensor.

    Raises:
        ValueError: T below 1, a batch below 0 or against the lengths, or lengths outside [0, T].
        TypeError: lengths that are not integers.

    Example:
        >>> last_step_weights(3, [3, 1]).T
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    T = as_integer("T", T)
    batch = None if batch is None else as_integer("batch", batch)
    if T < 1:
        raise ValueError(f"T must be at least 1, got {T}")
    if batch is not None and batch < 0:
        raise ValueError(f"batch must be at least 0, got {batch}")
    if lengths is None:
        lengths = torch.full((1 if batch is None else batch,), T)
    ends = _as_lengths(lengths, T, batch)
    return (torch.arange(T, device=ends.device).unsqueeze(1) == ends - 1).to(dtype)


def _nothing_counts(T: int, B: int) -> str:
    return (
        f"no step counts: of {T} steps of {B} sequences those not masked have weights that sum "
        "to 0, so there is no mean; leave such batches out, or use reduction='sum'"
    )


def _alive(divergence: Tensor, weights: Tensor | None, lengths: Tensor | Sequence[int] | None) -> Tensor:
    """[T, B] bool: the places that count."""
    T, B = divergence.shape
    alive = torch.ones((), dtype=torch.bool, device=divergence.device).expand(T, B)
    if weights is not None:
        alive = _over_batch(weights, divergence) != 0
    if lengths is not None:
        ends = _as_lengths(lengths, T, B)
        check_device_or_cpu("lengths", ends, divergence, of="divergence")
        ends = ends.to(divergence.device)
        alive = alive & (torch.arange(T, device=ends.device).unsqueeze(1) < ends)
    return alive


def _over_batch(weights: Tensor, divergence: Tensor) -> Tensor:
    """Weights [T], [T, 1] or [T, B], checked, as [T, B]."""
    T, B = divergence.shape
    if not weights.is_floating_point() and weights.dtype is not torch.bool:
        raise TypeError(f"weights must be floating point or bool, got {weights.dtype}; convert with .float()")
    if weights.device != divergence.device:
        raise ValueError(f"weights lie on {weights.device}, the rest on {divergence.device}; move them there")
    if tuple(weights.shape) not in ((T,), (T, 1), (T, B)):
        raise ValueError(
            f"weights must have shape [T], [T, 1] or [T, B] with T = {T} and B = {B}, "
            f"got {list(weights.shape)}"
        )
    return (weights.unsqueeze(1) if weights.dim() == 1 else weights).expand(T, B)


def _as_lengths(lengths: Tensor | Sequence[int], T: int, B: int | None) -> Tensor:
    """[B] int64, checked where the values can be read."""
    ends = lengths_tensor(lengths)
    if ends.dim() != 1 or (B is not None and ends.shape[0] != B):
        raise ValueError(
            f"lengths must be one for each sequence, [{'B' if B is None else B}], got {list(ends.shape)}"
        )
    if _readable(ends) and ends.numel():
        check_range(ends, T, "T")
    return ends.long()


def _readable(tensor: Tensor) -> bool:
    """Whether the values are at hand: not on another device, traced, fake, or under functorch."""
    return not torch.compiler.is_compiling() and is_readable(tensor)
