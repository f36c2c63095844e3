"""Every model that is decoded: steps are the whole, and a state follows its sequences wherever they go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.search import Decoder, decoder, evaluating, prefill

V = 11
KINDS = [
    {"architecture": "rnn"},
    {"architecture": "gru", "num_layers": 2},
    {"architecture": "lstm", "tied": True},
    {"architecture": "transformer", "context": 3},
    {"architecture": "transformer", "context": 50},
    {"architecture": "feedforward", "window": 3, "direct_connections": True},
    {"architecture": "feedforward", "window": 1},
]


def _model(**kind: Any) -> LanguageModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 8, "embedding_size": 4, "num_layers": 1, "num_heads": 2, **kind}
    return LanguageModel(LanguageModelConfig(V, **sizes)).double().eval()


def _alone(model: Decoder, tokens: list[int]) -> Tensor:
    """Logits [V] after a sequence that nothing was beside."""
    state = model.start()
    for token in tokens:
        output = model.step(torch.tensor([token]), state)
        state = output.state
    return output.logits[0]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data())
@settings(max_examples=15)
def test_rows_that_are_kept_dropped_and_copied_take_their_past_along(kind: dict[str, Any], data: Any) -> None:
    """What a beam does: after every step any rows go on, in any order. A forgotten `select` fails here."""
    model = _model(**kind)
    rows = [[data.draw(st.integers(0, V - 1))] for _ in range(data.draw(st.integers(1, 4)))]
    with torch.no_grad():
        output = model.step(torch.tensor([row[0] for row in rows]), model.start())
        for _ in range(data.draw(st.integers(1, 6))):
            for row, logits in zip(rows, output.logits, strict=True):
                torch.testing.assert_close(logits, _alone(model, row))
            chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
            tokens = [data.draw(st.integers(0, V - 1)) for _ in chosen]
            rows = [[*rows[place], token] for place, token in zip(chosen, tokens, strict=True)]
            output = model.step(torch.tensor(tokens), output.state.select(torch.tensor(chosen)))
        for row, logits in zip(rows, output.logits, strict=True):
            torch.testing.assert_close(logits, _alone(model, row))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_state_is_a_value(kind: dict[str, Any]) -> None:
    model = _model(**kind)
    with torch.no_grad():
        first = model.step(torch.tensor([[1, 2, 3]]), model.start()).state
        one = model.step(torch.tensor([4]), first).logits
        model.step(torch.tensor([5]), first)
        assert torch.equal(model.step(torch.tensor([4]), first).logits, one)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("at_once", [1, 2 * V, 1 << 24])
def test_a_prompt_is_read_in_any_pieces(
    kind: dict[str, Any], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "LOGITS_AT_ONCE", at_once)
    model, tokens, lengths = _model(**kind), torch.randint(V, (3, 7)), torch.tensor([7, 2, 4])
    with evaluating(model):
        output = prefill(model, tokens, model.start(), lengths)
        further = model.step(torch.tensor([1, 2, 3]), output.state)
        for row, length in enumerate(lengths.tolist()):
            prompt = tokens[row, :length].tolist()
            torch.testing.assert_close(output.logits[row], _alone(model, prompt))
            torch.testing.assert_close(further.logits[row], _alone(model, [*prompt, row + 1]))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_many_tokens_at_once_are_as_many_steps(kind: dict[str, Any]) -> None:
    model, tokens = _model(**kind), torch.randint(V, (2, 5))
    with torch.no_grad():
        whole = model.step(tokens, model.start()).logits
        assert whole.shape == (2, 5, V)
        for row in range(2):
            for end in range(1, 6):
                torch.testing.assert_close(whole[row, end - 1], _alone(model, tokens[row, :end].tolist()))
