"""A model of torch's layers, as projects write them, and its twin with ours."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

import pyrnn


class Model(nn.Module):
    """A recurrent encoder, a Transformer block and a cell that reads its output step by step."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.vectors = nn.Embedding(11, 8)
        self.encoder = nn.LSTM(8, 8, 2, batch_first=True, dropout=dropout)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout, batch_first=True)
        self.cell = nn.GRUCell(8, 8)
        self.scores = nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.block(self.encoder(self.vectors(tokens))[0])
        state = states.new_zeros(states.shape[0], 8)
        for step in states.unbind(1):
            state = self.cell(step, state)
        return self.scores(state)


def twins() -> tuple[Model, Model]:
    """The same model twice: of torch's layers, and accelerated."""
    torch.manual_seed(0)
    theirs = Model()
    ours = copy.deepcopy(theirs)
    assert not pyrnn.accelerate(ours).kept
    return theirs, ours


def batches(count: int = 6, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Tokens [B, T] and a class [B] that follows from them."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randint(0, 11, (4, 6), generator=generator) for _ in range(count)]
    return [(tokens, tokens.sum(1) % 5) for tokens in made]


def loss_of(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    tokens, classes = batch
    return nn.functional.cross_entropy(model(tokens), classes)


def losses(model: Any, data: Iterable[tuple[Tensor, Tensor]] | None = None) -> list[float]:
    """Of one step of training on each batch."""
    optimizer, told = torch.optim.SGD(model.parameters(), 0.1), []
    for batch in batches() if data is None else data:
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.append(loss.item())
    return told


def assert_close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
