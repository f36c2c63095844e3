"""torch's attention layers beside ours: the same parameters, the same calls."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import pyrnn.nn

ATTENTION = "MultiheadAttention"
LAYERS = ("TransformerEncoderLayer", "TransformerDecoderLayer")
MODELS = (*LAYERS, "Transformer")


def pair(name: str, *args: Any, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """torch's module called `name` and ours, float64 by default, initialised from the same seed."""
    options.setdefault("dtype", torch.float64)
    modules = []
    for package in (nn, pyrnn.nn):
        torch.manual_seed(seed)
        with warnings.catch_warnings():  # torch's Transformer advises itself
            warnings.filterwarnings("ignore", "enable_nested_tensor is True")
            modules.append(getattr(package, name)(*args, **options))
    return modules[0], modules[1]


def causal_mask(T: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """torch's own mask."""
    return nn.Transformer.generate_square_subsequent_mask(T, dtype=dtype)


@dataclass(frozen=True)
class Call:
    """A layer's constructor options and the arguments of one call, in float64."""

    embed_dim: int
    num_heads: int
    options: dict[str, Any]
    operands: tuple[Tensor, Tensor, Tensor]
    arguments: dict[str, Any]

    def pair(self) -> tuple[Any, Any]:
        return pair(ATTENTION, self.embed_dim, self.num_heads, **self.options)

    def leaves(self) -> list[Tensor]:
        """The different tensors among query, key and value."""
        return list({id(tensor): tensor for tensor in self.operands}.values())


def _mask(kind: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A bool or float mask that leaves every query its first key."""
    forbidden = torch.rand(shape, generator=generator) < 0.3
    forbidden[..., 0] = False
    if kind == "bool":
        return forbidden
    bias = torch.randn(shape, generator=generator, dtype=torch.float64)
    return bias.masked_fill(forbidden, -torch.inf)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Any call of MultiheadAttention that torch computes without NaN."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    E, H = draw(st.sampled_from([(8, 2), (6, 3), (4, 1)]))
    B, T, S = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    batch_first, batched = draw(st.booleans()), draw(st.booleans())
    kdim, vdim = draw(st.sampled_from([(None, None), (5, 3), (None, 3)]))
    operands = draw(st.sampled_from(["self", "shared memory", "three"]))
    if operands != "three":
        kdim = vdim = None
    S = T if operands == "self" else S
    extra = {name: draw(st.booleans()) for name in ("bias", "add_bias_kv", "add_zero_attn")}

    def new(length: int, features: int) -> Tensor:
        batch = (B, length) if batch_first else (length, B)
        shape = (*batch, features) if batched else (length, features)
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    query = new(T, E)
    key = query if operands == "self" else new(S, kdim or E)
    value = new(S, vdim or E) if operands == "three" else key
    kind = draw(st.sampled_from([None, "bool", "float", "causal"]))
    shape = draw(st.sampled_from([(T, S), ((B if batched else 1) * H, T, S)]))
    mask, hint = None, False
    if kind == "causal":
        mask = torch.ones(T, S, dtype=torch.bool).triu(1)
        # Where keys are appended, torch's hint hides them from most queries, and its mask does not.
        hint = draw(st.booleans())
    elif kind is not None:
        mask = _mask(kind, shape, generator)
    padding_kind = draw(st.sampled_from([None, "bool", "float"]))
    padding = _mask(padding_kind, (B, S) if batched else (S,), generator) if padding_kind else None
    return Call(
        E,
        H,
        {"kdim": kdim, "vdim": vdim, "batch_first": batch_first, **extra},
        (query, key, value),
        {
            "key_padding_mask": padding,
            "need_weights": draw(st.booleans()),
            "attn_mask": mask,
            "average_attn_weights": draw(st.booleans()),
            "is_causal": hint,
        },
    )
