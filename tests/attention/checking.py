"""Attention by the operator, the reference and torch, and the accuracy asked of the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrnn import reference
from pyrnn.ops import scaled_dot_product_attention
from pyrnn.reference.philox import attention_keep
from tests.attention.cases import on_threads
from tests.attention.exact import attend

Kernel = Callable[..., tuple[Tensor, ...]]

RESULTS = ("output", "weights", "d_query", "d_key", "d_value", "d_mask")


def of_kernel(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, ...]:
    """The operator's output and, where asked for, weights."""
    out = scaled_dot_product_attention(query, key, value, **options)
    return out if isinstance(out, tuple) else (out,)


def kernel_on(device: str) -> Kernel:
    """`of_kernel` with its tensors moved to a device and its results moved back; a seed stays on the CPU."""

    def of_device(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, ...]:
        moved = {
            name: option.to(device) if isinstance(option, Tensor) and name != "seed" else option
            for name, option in options.items()
        }
        results = of_kernel(query.to(device), key.to(device), value.to(device), **moved)
        return tuple(result.cpu() for result in results)

    return of_device


def of_reference(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, ...]:
    """The reference's output and, where asked for, weights, on the arguments of the operator."""
    left, right = options.pop("window", None) or (-1, -1)
    options.pop("enable_gqa", None)
    kind = options.pop("return_weights", None) or "none"
    options.update(window_left=left, window_right=right, return_weights=kind)
    output, weights = reference.scaled_dot_product_attention(query, key, value, **options)
    return (output,) if kind == "none" else (output, weights)


@dataclass(frozen=True)
class Composed:
    """Attention composed of torch's operators, with what lies between."""

    query: Tensor
    key: Tensor  # of every head of the query
    value: Tensor
    visible: Tensor  # bool, broadcastable to [B, H, T, S]
    live: Tensor  # bool, which queries see anything
    bias: Tensor | None
    scores: Tensor  # [B, H, T, S], 0 for queries that see nothing
    factors: Tensor | float  # of dropout
    weights: Tensor  # before dropout

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        key_padding_mask: Tensor | None = None,
        lengths: Tensor | None = None,
        query_start: int = 0,
        window: tuple[int, int] | None = None,
        alibi_slopes: Tensor | None = None,
        softcap: float = 0.0,
        seed: Tensor | None = None,
        **_: Any,
    ) -> Composed:
        (B, H, T, D), S = query.shape, key.shape[2]
        key, value = (t.repeat_interleave(H // t.shape[1], 1) for t in (key, value))
        ahead = torch.arange(S) - torch.arange(T)[:, None] - query_start  # of the query's place
        left, right = window or (-1, -1)
        visible = torch.ones(B, 1, T, S, dtype=torch.bool)
        for limited, allowed in (
            (is_causal, ahead <= 0),
            (left >= 0, -ahead <= left),
            (right >= 0, ahead <= right),
        ):
            visible = visible & allowed if limited else visible
        if lengths is not None:
            visible = visible & (torch.arange(S) < lengths[:, None, None, None])
        if key_padding_mask is not None:
            visible = visible.masked_fill(key_padding_mask[:, None, None], False)
        bias = None
        if alibi_slopes is not None:
            bias = (-alibi_slopes[..., None, None] * ahead.abs()).to(query)
        if attn_mask is not None and attn_mask.dtype is torch.bool:
            visible = visible & attn_mask
        elif attn_mask is not None:
            bias = attn_mask if bias is None else bias + attn_mask
            visible = visible & (attn_mask != -torch.inf)
        live = visible.any(-1, keepdim=True)
        scores = query * (D**-0.5 if scale is None else scale) @ key.mT
        scores = softcap * torch.tanh(scores / softcap) if softcap else scores
        scores = scores if bias is None else scores + bias
        scores = scores.masked_fill(~visible, -torch.inf).masked_fill(~live, 0.0)
        weights = torch.softmax(scores, -1).masked_fill(~visible, 0.0)
        factors = 1.0
        if dropout_p:
            assert seed is not None
            kept = attention_keep(seed, dropout_p, (B, H, T, S), query.device).to(query)
            factors = kept / (1 - dropout_p) if dropout_p < 1 else kept
        return cls(query, key, value, visible, live, bias, scores, factors, weights)


def of_torch(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, ...]:
    """The same by torch's own attention where it can, else composed of torch's operators."""
    c = Composed.of(query, key, value, **options)
    kind = options.get("return_weights")
    if not (options.get("softcap") or options.get("dropout_p") or kind) and c.live.all():
        mask = c.visible if c.bias is None else torch.where(c.visible, c.bias, -torch.inf)
        free = c.bias is None and bool(c.visible.all())
        chosen = {name: options[name] for name in ("scale", "enable_gqa") if name in options}
        return (F.scaled_dot_product_attention(query, key, value, None if free else mask, **chosen),)
    weights = c.weights * c.factors
    return (weights @ c.value, weights.mean(1) if kind == "mean" else weights)[: 2 if kind else 1]


def cotangents(results: tuple[Tensor, ...], dtype: torch.dtype) -> list[Tensor]:
    """Gradients of the results, the same numbers whatever the dtype of the results; `dtype` holds them."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(t.shape, generator=generator).to(dtype).to(t) for t in results]


def run(
    function: Any,
    operands: tuple[Tensor, ...],
    options: dict[str, Any],
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Results and gradients, computed in `dtype`, by the names of `RESULTS`."""
    leaves = [t.detach().to(dtype).requires_grad_() for t in operands]
    mask = options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        leaves.append(mask.detach().to(dtype).requires_grad_())
        options = {**options, "attn_mask": leaves[3]}
    results = function(*leaves[:3], **options)
    grads = torch.autograd.grad(
        results, leaves, cotangents(results, operands[0].dtype), materialize_grads=True
    )
    names = (*RESULTS[: len(results)], *RESULTS[2 : 2 + len(leaves)])
    return dict(zip(names, (*(t.detach() for t in results), *grads), strict=True))


def sizes_of_terms(operands: tuple[Tensor, ...], options: dict[str, Any]) -> dict[str, float]:
    """How large the sums that make up each result are before their terms cancel, in float64.

    The gradient of a score is weight * (d_weight - delta): with a single visible key it is 0, whatever the
    two numbers are, and what is left is their rounding. And a rounded score s makes its weight wrong by
    eps * |s|.
    """
    query, key, value = (t.detach().double() for t in operands)
    mask = options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        options = {**options, "attn_mask": mask.detach().double()}
    c = Composed.of(query, key, value, **options)
    results = of_torch(query, key, value, **options)
    g_output, *g_weights = cotangents(results, operands[0].dtype)
    # Larger scores come of masks that are added to whole numbers, where nothing is rounded.
    heights = torch.where(c.visible, c.scores, 0.0).abs()
    felt = c.weights * torch.where(heights > 1e3, 1.0, heights.clamp(min=1))
    d_weights = g_output @ c.value.mT
    if g_weights:
        mean = options["return_weights"] == "mean"
        d_weights = d_weights + (g_weights[0].unsqueeze(1) / query.shape[1] if mean else g_weights[0])
    d_weights = (d_weights * c.factors).abs()
    terms = felt * (d_weights + (c.weights * d_weights).sum(-1, keepdim=True))
    scale = abs(options.get("scale") or query.shape[-1] ** -0.5)

    def size(pairs: Tensor, rows: Tensor, heads: int) -> float:
        """Of pairs times rows, if the terms were of either sign by chance."""
        squares = pairs.square() @ rows.square()
        return squares.unflatten(1, (heads, -1)).sum(2).sqrt().max().item()

    H, K = query.shape[1], key.shape[1]
    return {
        "output": size(felt * c.factors, c.value, H),
        "weights": (felt * c.factors).max().item(),
        "d_query": scale * size(terms, c.key, H),
        "d_key": scale * size(terms.mT, query, K),
        "d_value": size((felt * c.factors).mT, g_output, K),
        "d_mask": 0.0 if mask is None else terms.square().sum_to_size(_four(mask)).sqrt().max().item(),
    }


def _four(mask: Tensor) -> tuple[int, ...]:
    return (1,) * (4 - mask.dim()) + tuple(mask.shape)


def check(
    operands: tuple[Tensor, Tensor, Tensor],
    options: dict[str, Any],
    *,
    threads: int = 1,
    kernel: Kernel = of_kernel,
) -> None:
    """Results and gradients against the float64 reference: at most twice torch's error at the same dtype.

    As `tests.helpers.assert_as_accurate`, but four roundings of the terms of each sum are allowed as well.
    float64 itself is compared with longer floats: over many keys the reference errs more than the kernels.
    """
    dtype = operands[0].dtype
    with on_threads(threads):
        ours = run(kernel, operands, options, dtype)
        with torch.no_grad():  # which other kernels may compute
            inferred = kernel(*operands, **options)[0]
    theirs = run(of_torch, operands, options, dtype)
    if dtype is torch.float64:
        results = tuple(ours[name] for name in RESULTS[:2] if name in ours)
        exact = attend(operands, tuple(cotangents(results, dtype)), **options)
    else:
        exact = run(of_reference, operands, options, torch.float64)
    sizes = sizes_of_terms(operands, options)
    assert list(ours) == list(theirs) == list(exact)
    for name, ideal in exact.items():
        assert ours[name].shape == ideal.shape, f"{name}: {ours[name].shape} for {ideal.shape}"
        assert ours[name].dtype is dtype, f"{name} is {ours[name].dtype}"
        error, torch_error = ((each[name].double() - ideal).abs().max().item() for each in (ours, theirs))
        if name == "output":
            error = max(error, (inferred.double() - ideal).abs().max().item())
        size = max(ideal.abs().max().item(), sizes[name])
        bound = 2 * torch_error + 4 * torch.finfo(dtype).eps * size
        assert error <= bound, f"{name}: error {error:.3g} above {bound:.3g} (torch's own: {torch_error:.3g})"
