"""Calls that nothing watches pass the dispatcher by, and what was worked out for one call serves the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyrnn.ops import (
    dropout,
    recurrent,
    residual_layer_norm,
    rotary_embedding,
    scaled_dot_product_attention,
)
from tests.attention.checking import of_kernel, of_reference
from tests.helpers import make_layer
from tests.ops.decoders import make_decoder
from tests.ops.decoders import results as results_of

Run = Callable[[], tuple[tuple[Tensor, ...], list[Tensor]]]


class Watch(TorchDispatchMode):
    """Notes the operators that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))


def attention() -> tuple[tuple[Tensor, ...], list[Tensor]]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3))
    mask, seed = torch.randn(5, 5, requires_grad=True), torch.tensor(4)
    out = of_kernel(q, k, v, attn_mask=mask, dropout_p=0.25, return_weights="mean", seed=seed)
    return (*out, *of_kernel(q, k, v, is_causal=True)), [q, k, v, mask]


def lstm() -> tuple[tuple[Tensor, ...], list[Tensor]]:
    torch.manual_seed(0)
    layer = make_layer("lstm", T=5, B=3, D=2, dtype=torch.float32, requires_grad=True)
    return tuple(layer.run(recurrent, lengths=torch.tensor([5, 0, 2]))[:3]), [*layer.leaves]


def drop() -> tuple[tuple[Tensor, ...], list[Tensor]]:
    torch.manual_seed(0)
    leaves = [torch.randn(7, 9, requires_grad=True) for _ in range(2)]
    return (dropout(leaves[0], 0.3, residual=leaves[1], activation="gelu", seed=torch.tensor(4)),), leaves


def normalise() -> tuple[tuple[Tensor, ...], list[Tensor]]:
    torch.manual_seed(0)
    x, residual, weight, bias = (
        torch.randn(shape, requires_grad=True) for shape in ((7, 9), (7, 9), (9,), (9,))
    )
    found = residual_layer_norm(x, residual, weight, bias, p=0.3, seed=torch.tensor(4))
    return found, [x, residual, weight, bias]


def rotate() -> tuple[tuple[Tensor, ...], list[Tensor]]:
    torch.manual_seed(0)
    x = torch.randn(7, 2, 9, requires_grad=True)
    return (rotary_embedding(x, torch.randn(7, 4, 2), sequence_dim=0),), [x]


def decode() -> tuple[tuple[Tensor, ...], list[Tensor]]:
    torch.manual_seed(0)
    decoder = make_decoder("gru", "location", T=4, B=6, S=5).to(torch.float32)
    lengths: dict[str, Any] = {
        "source_lengths": torch.tensor([5, 0, 2, 1, 3, 4]),
        "lengths": torch.tensor([4, 2, 0, 1, 4, 3]),
    }
    return results_of(decoder.run(**lengths)), [*decoder.leaves]


RUNS = {
    "scaled_dot_product_attention": attention,
    "recurrent": lstm,
    "dropout": drop,
    "residual_layer_norm": normalise,
    "rotary_embedding": rotate,
    "attention_decoder": decode,
}


def results(run: Run) -> list[Tensor]:
    outputs, leaves = run()
    total = sum((o * torch.arange(1, o.numel() + 1).view(o.shape).sin()).sum() for o in outputs)
    return [*outputs, *torch.autograd.grad(total, leaves)]  # type: ignore[list-item]


@pytest.mark.parametrize("name", RUNS)
def test_both_paths_give_the_same_bits(name: str) -> None:
    short = results(RUNS[name])
    with Watch() as watch:
        long = results(RUNS[name])
    assert f"pyrnn._{name}_bwd.default" in watch.names
    for ours, theirs in zip(short, long, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("scaled_dot_product_attention", "ScaledDotProductAttention"),
        ("recurrent", "Recurrent"),
        ("dropout", "Dropout"),
        ("residual_layer_norm", "ResidualLayerNorm"),
        ("rotary_embedding", "RotaryEmbedding"),
        ("attention_decoder", "AttentionDecoder"),
    ],
)
def test_the_fast_path_is_taken(name: str, node: str) -> None:
    assert {type(o.grad_fn).__name__ for o in RUNS[name]()[0]} == {f"{node}Backward"}


def test_batched_gradients_of_dropout() -> None:
    (output,), (x, _) = drop()
    basis = torch.randn(4, *output.shape)
    (batched,) = torch.autograd.grad(output, x, basis, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(output, x, each, retain_graph=True)[0] for each in basis]
    torch.testing.assert_close(batched, torch.stack(one_by_one))


# ---- layouts that are kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [False, True])
def test_calls_of_one_shape_and_different_layouts(trained: bool) -> None:
    """In turns, so that a layout kept for one of them would be seen in another."""
    q, k, v = (torch.randn(2, 4, 6, 8) for _ in range(3))
    variants: list[tuple[tuple[Tensor, ...], dict[str, Any]]] = [
        ((q, k, v), {}),
        ((q, k.transpose(2, 3).contiguous().transpose(2, 3), v), {}),
        ((q.transpose(1, 2).contiguous().transpose(1, 2), k, v), {}),
        ((q.double(), k.double(), v.double()), {}),
        ((q, k, v), {"is_causal": True}),
        ((q, k, v), {"scale": 2.0}),
        ((q, k, v), {"scale": torch.tensor(0.5)}),
        ((q, k, v), {"window": (1, 0)}),
        ((q, k, v), {"window": [0, 2]}),
        ((q, k, v), {"is_causal": True, "query_start": 2}),
        ((q, k, v), {"softcap": 1.0}),
        ((q, k[:, :2], v[:, :2]), {"enable_gqa": True}),
    ]
    for _ in range(2):
        for tensors, options in variants:
            own = [t.detach().requires_grad_(trained) for t in tensors]
            (found,), (exact,) = (
                of_kernel(*own, **options),
                of_reference(*(t.double() for t in tensors), **options),
            )
            torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_scale_that_changes_in_place() -> None:
    q, scale = torch.randn(1, 1, 3, 4), torch.tensor(0.5)
    before = scaled_dot_product_attention(q, q, q, scale=scale)  # type: ignore[arg-type]
    scale.fill_(2.0)
    after = scaled_dot_product_attention(q, q, q, scale=scale)  # type: ignore[arg-type]
    torch.testing.assert_close(before, scaled_dot_product_attention(q, q, q, scale=0.5), rtol=0, atol=0)
    torch.testing.assert_close(after, scaled_dot_product_attention(q, q, q, scale=2.0), rtol=0, atol=0)


def test_another_device_after_a_good_call() -> None:
    q = torch.randn(1, 1, 3, 4)
    scaled_dot_product_attention(q, q, q)
    with pytest.raises(ValueError, match="not at the same device"):
        scaled_dot_product_attention(q, q.to("meta"), q)
