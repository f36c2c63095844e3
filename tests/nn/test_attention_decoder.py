"""The layer around the attention decoder's operator: its parts, its states, and what explains it."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

import pyrnn
from pyrnn.nn import AttentionDecoder
from pyrnn.nn.attention_decoder import Attention

KINDS = get_args(Attention)


def layer_of(attention: str, cell: str = "gru", **options: object) -> AttentionDecoder:
    torch.manual_seed(0)
    made = AttentionDecoder(5, 6, 6, cell=cell, attention=attention, **options)  # type: ignore[arg-type]
    return made.double()


def memory_of(layer: AttentionDecoder) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(7, 2, 6, dtype=torch.float64), torch.tensor([7, 3])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("attention", KINDS)
def test_pieces_are_the_whole(attention: str, cell: str) -> None:
    layer = layer_of(attention, cell)
    memory = layer.prepare(*memory_of(layer))
    x = torch.randn(6, 2, 5, dtype=torch.float64)
    whole = layer(x, memory)
    state, pieces = None, []
    for piece in x.split([2, 1, 3]):
        *found, state = layer(piece, memory, state)
        pieces.append(found)
    for expected, parts in zip(whole[:3], zip(*pieces, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), expected)


@pytest.mark.parametrize("attention", KINDS)
def test_the_formula_of_the_score(attention: str) -> None:
    layer = layer_of(attention, input_feeding=False)
    source, lengths = memory_of(layer)
    output, context, weights, _ = layer(
        torch.randn(1, 2, 5, dtype=torch.float64), layer.prepare(source, lengths)
    )
    h = output[0]
    if attention in ("dot", "scaled", "general"):
        keys = source if layer.weight_key is None else source @ layer.weight_key.T
        scores = (keys * h).sum(-1) * (6**-0.5 if attention == "scaled" else 1)
    else:  # the first step has no weights before it
        assert layer.weight_query is not None and layer.weight_key is not None  # noqa: PT018
        assert layer.score_weight is not None
        inner = h @ layer.weight_query.T + source @ layer.weight_key.T + layer.bias_key
        scores = torch.tanh(inner) @ layer.score_weight
    hidden = torch.arange(7).unsqueeze(1) >= lengths
    expected = scores.masked_fill(hidden, -torch.inf).softmax(0).T
    torch.testing.assert_close(weights[0], expected)
    torch.testing.assert_close(context[0], torch.einsum("bs,sbm->bm", expected, source))


def test_explain_names_the_kernel() -> None:
    layer = layer_of("additive").float()
    source = torch.randn(7, 2, 6)
    told = pyrnn.explain(layer, torch.randn(3, 2, 5), layer.prepare(source))
    assert told.layers[0].path == "native"
    assert "T = 3, B = 2, S = 7" in str(told)
    halves = layer.half()
    told = pyrnn.explain(halves, torch.randn(3, 2, 5).half(), halves.prepare(source.half()))
    assert told.layers[0].path == "reference"
    assert "float16" in told.layers[0].reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cell": "sru"}, "cell must be one of rnn, gru, lstm"),
        ({"attention": "hard"}, "attention must be one of dot"),
        ({"attention": "dot", "memory_size": 5}, "multiplies states of 8 features with a memory of 5"),
        ({"attention": "location", "location_width": 4}, "must be odd"),
    ],
)
def test_what_cannot_be_made(options: dict[str, object], words: str) -> None:
    sizes = {"input_size": 5, "hidden_size": 8, "memory_size": 8, **options}
    with pytest.raises(ValueError, match=words):
        AttentionDecoder(**sizes)  # type: ignore[arg-type]
