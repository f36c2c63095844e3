"""Small models whose predictions are known or easily computed another way."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pyrnn.models import LanguageModel, LanguageModelConfig


def small_model(vocabulary_size: int, *, dtype: torch.dtype = torch.float64, **changes: Any) -> LanguageModel:
    """A random model whose predictions differ clearly from one token to the next.

    In float64, so that what is equal in exact arithmetic is nearly so.
    """
    sizes = {"embedding_size": 6, "hidden_size": 8, **changes}
    model = LanguageModel(LanguageModelConfig(vocabulary_size, **sizes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(0 if "bias" in name else 4)  # biases would make one token the likeliest everywhere
    return model.to(dtype).eval()


def constant_model(logits: Tensor) -> LanguageModel:
    """A model that predicts softmax(`logits` [V]) whatever it has read."""
    model = LanguageModel(LanguageModelConfig(len(logits), embedding_size=1, hidden_size=1, num_layers=1))
    with torch.no_grad():
        model.projection.weight.zero_()
        model.projection.bias.copy_(logits)
    return model


def chain_model(vocabulary_size: int, chain: list[int]) -> LanguageModel:
    """A model that expects after chain[i] always chain[i + 1], whatever came before; all of them differ."""
    model = LanguageModel(
        LanguageModelConfig(
            vocabulary_size, architecture="rnn", input="one-hot", hidden_size=len(chain), num_layers=1
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for i, (token, following) in enumerate(pairwise(chain)):
            model.get_parameter("recurrent.weight_ih_l0")[i, token] = 1
            model.projection.weight[following, i] = 1
    return model


@torch.no_grad()
def next_logits(model: LanguageModel, ids: list[int]) -> Tensor:
    """[V] after reading `ids` from the start."""
    return model(torch.tensor(ids).unsqueeze(1))[0][-1, 0]


class Calls:
    """Counts a model's calls and records their sizes."""

    def __init__(self, model: LanguageModel) -> None:
        self.shapes: list[torch.Size] = []
        model.register_forward_hook(lambda _, __, output: self.shapes.append(output[0].shape))
