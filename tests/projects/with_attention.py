"""Stand-ins for projects around torch's attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Case = tuple[nn.Module, tuple[Any, ...]]


class Detector(nn.Module):
    """Detection transformers: learned queries, positions added to queries and keys, own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Embedding(3, 8)
        self.self_attn = nn.MultiheadAttention(8, 2, dropout=0.0)
        self.cross = nn.MultiheadAttention(8, 2, dropout=0.0)
        self.norm = nn.LayerNorm(8)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, memory: Tensor, positions: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        query = self.queries.weight.unsqueeze(1).repeat(1, memory.shape[1], 1)
        target = torch.zeros_like(query)
        q = k = target + query
        target = self.norm(target + self.self_attn(q, k, value=target)[0])
        found, weights = self.cross(
            query=target + query, key=memory + positions, value=memory, key_padding_mask=padding
        )
        return self.norm(target + found), weights


def detector() -> Case:
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 4:] = True
    return Detector(), (torch.randn(7, 2, 8), torch.randn(7, 2, 8), padding)


class ImageText(nn.Module):
    """Contrastive image-text models: residual blocks around an attention with a float mask of -inf."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2)
        self.ln_1, self.ln_2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
        self.register_buffer("mask", torch.full((5, 5), -math.inf).triu_(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        mask = self.mask.to(dtype=x.dtype, device=x.device)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


def image_text() -> Case:
    return ImageText(), (torch.randn(5, 2, 8),)


class Hooked(nn.Module):
    """Interpretability tools read and change activations by hooks on every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.block = nn.RNN(4, 8), nn.TransformerEncoderLayer(8, 2, 16, 0.0)
        self.seen: dict[str, Tensor] = {}
        self.rnn.register_forward_hook(self._store("rnn"))
        self.block.self_attn.register_forward_hook(self._store("attention"))
        self.block.linear1.register_forward_pre_hook(lambda _, args: (args[0] * 2,))

    def _store(self, name: str) -> Callable[..., None]:
        def hook(_: Any, __: Any, result: Any) -> None:
            self.seen[name] = result[0]

        return hook

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.block(self.rnn(x)[0])
        return y, self.seen["rnn"] + 0, self.seen["attention"] + 0


def hooked() -> Case:
    return Hooked(), (torch.randn(5, 2, 4),)
