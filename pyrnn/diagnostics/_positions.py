"""The inputs of a transformer's layers at every position, as tensors of the graph of one call."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def layer_inputs(encoder: nn.TransformerEncoder) -> Generator[list[Tensor], None, None]:
    """Within, a call of `encoder` fills the list with each layer's input, [T, B, E] or [B, T, E].

    Raises:
        ValueError: in the model's call, when it calls the encoder twice.
    """
    kept: list[Tensor] = []
    layers = list(encoder.layers)

    def keep(number: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(kept) != number:
            raise ValueError("the model calls its transformer more than once; give it a single sequence")
        source, *others = args or (kwargs.pop("src"),)
        # A model whose weights are frozen has a graph as well.
        source = source if source.requires_grad else source.detach().requires_grad_()
        kept.append(source)
        return (source, *others), kwargs

    handles = [
        layer.register_forward_pre_hook(partial(keep, number), with_kwargs=True)
        for number, layer in enumerate(layers)
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def batch_comes_first(encoder: nn.TransformerEncoder) -> bool:
    """Whether an encoder takes [B, T, E]."""
    first = encoder.layers[0]
    assert isinstance(first, nn.TransformerEncoderLayer)
    return bool(first.self_attn.batch_first)


def position_norms(inputs: list[Tensor], loss: Tensor, lags: tuple[int, ...], *, batch_first: bool) -> Tensor:
    """|dL/dx_{T-k}| of each layer's input x: [K, L, B] float64, zero where no path leads to the loss."""
    gradients = torch.autograd.grad(loss, inputs, materialize_grads=True)
    norms = torch.stack([gradient.double().norm(dim=-1) for gradient in gradients])  # [L, T, B] or [L, B, T]
    in_time = norms.permute(2, 0, 1) if batch_first else norms.transpose(0, 1)
    return in_time.flip(0)[list(lags)]
