"""Models of two sequences: steps are the whole, rows keep their sources, padding changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.models import Seq2Seq, Seq2SeqConfig, Source

V, SOURCES = 11, 13
KINDS: list[dict[str, Any]] = [
    {"architecture": "rnn", "attention": "none"},
    {"architecture": "lstm", "attention": "none", "num_layers": 3, "bidirectional": False},
    {"architecture": "gru", "attention": "dot"},
    {"architecture": "lstm", "attention": "scaled", "input_feeding": False},
    {"architecture": "lstm", "attention": "general", "tied": "target"},
    {"architecture": "lstm", "attention": "additive", "num_layers": 4, "residual": True},
    {"architecture": "gru", "attention": "location", "num_layers": 2},
    {"architecture": "rnn", "attention": "coverage"},
    {"architecture": "transformer", "num_layers": 2},
    {"architecture": "transformer", "norm_first": False},
]


def model_of(**kind: Any) -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "embedding_size": 4, "num_layers": 1, "num_heads": 2, **kind}
    return Seq2Seq(Seq2SeqConfig(V, source_vocabulary_size=SOURCES, **sizes)).double().eval()


def sources(*lengths: int) -> Source:
    torch.manual_seed(1)
    return Source(torch.randint(SOURCES, (max(lengths), len(lengths))), torch.tensor(lengths))


def alone(model: Seq2Seq, source: Source, row: int, tokens: list[int]) -> Tensor:
    """Logits [V] after tokens about one source that nothing was beside or behind."""
    length = int(source.lengths[row])
    own = Source(source.tokens[:length, row : row + 1], source.lengths[row : row + 1])
    return model(*own, torch.tensor(tokens).unsqueeze(1))[-1, 0]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data())
@settings(max_examples=15)
def test_rows_take_their_past_and_their_source_along(kind: dict[str, Any], data: Any) -> None:
    """What a search does: after every step any rows go on, in any order. A forgotten `select` fails here."""
    model, source = model_of(**kind), sources(5, 1, 3)
    rows = [(n, [data.draw(st.integers(0, V - 1))]) for n in range(3)]
    with torch.no_grad():
        output = model.step(torch.tensor([tokens[0] for _, tokens in rows]), model.start(source))
        for _ in range(data.draw(st.integers(1, 4))):
            for (place, tokens), logits in zip(rows, output.logits, strict=True):
                torch.testing.assert_close(logits, alone(model, source, place, tokens))
            chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
            more = [data.draw(st.integers(0, V - 1)) for _ in chosen]
            rows = [(rows[n][0], [*rows[n][1], token]) for n, token in zip(chosen, more, strict=True)]
            output = model.step(torch.tensor(more), output.state.select(torch.tensor(chosen)))
        for (place, tokens), logits in zip(rows, output.logits, strict=True):
            torch.testing.assert_close(logits, alone(model, source, place, tokens))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_steps_are_the_whole_and_a_state_is_a_value(kind: dict[str, Any]) -> None:
    model, source, target = model_of(**kind), sources(6, 2), torch.randint(V, (5, 2))
    with torch.no_grad():
        whole, first = model(*source, target), model.start(source)
        two = model.step(target[:2].T, first)
        torch.testing.assert_close(two.logits.transpose(0, 1), whole[:2])
        for _ in range(2):  # the same state once more
            state = two.state
            for tokens, expected in zip(target[2:], whole[2:], strict=True):
                output = model.step(tokens, state)
                torch.testing.assert_close(output.logits, expected)
                state = output.state


@pytest.mark.parametrize("kind", KINDS[:8], ids=str)
def test_targets_of_unequal_lengths(kind: dict[str, Any]) -> None:
    model, source, target = model_of(**kind), sources(6, 2, 4), torch.randint(V, (5, 3))
    with torch.no_grad():
        output = model.step(target.T, model.start(source), lengths=torch.tensor([2, 5, 0]))
        further = model.step(torch.tensor([1, 2, 3]), output.state).logits
        for row, length in enumerate((2, 5, 0)):
            tokens = [*target[:length, row].tolist(), row + 1]
            torch.testing.assert_close(further[row], alone(model, source, row, tokens))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_stands_behind_a_source_is_not_read(kind: dict[str, Any]) -> None:
    model, source, target = model_of(**kind), sources(6, 2), torch.randint(V, (5, 2))
    other = Source(source.tokens.clone(), source.lengths)
    other.tokens[2:, 1] = 0
    torch.testing.assert_close(model(*source, target), model(*other, target), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_parameter_learns(kind: dict[str, Any]) -> None:
    model, source, target = model_of(**kind).train(), sources(6, 2), torch.randint(V, (5, 2))
    model(*source, target).log_softmax(-1)[..., 0].sum().backward()
    silent = {"bias_key"}  # adds the same to the scores of all keys where nothing bends them
    missing = [
        name
        for name, p in model.named_parameters()
        if (p.grad is None or not p.grad.any()) and name.rpartition(".")[2] not in silent
    ]
    assert not missing


def test_attention_is_a_distribution_over_the_source() -> None:
    model, source = model_of(architecture="gru", attention="additive"), sources(6, 2)
    with torch.no_grad():
        attention = model.step(torch.tensor([0, 1]), model.start(source)).attention
        several = model.step(torch.tensor([[0, 1], [1, 2]]), model.start(source)).attention
    assert attention is not None
    assert several is not None
    assert attention.shape == (2, 6)
    assert several.shape == (2, 2, 6)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, dtype=torch.float64))
    assert not attention[1, 2:].any()


@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_vectors_as_sources(architecture: str) -> None:
    """Captions of pictures, say: one vector, or several."""
    model = model_of(architecture=architecture, vector_input=5)
    vectors, target = torch.randn(4, 2, 5, dtype=torch.float64), torch.randint(V, (3, 2))
    with torch.no_grad():
        whole = model(vectors, torch.tensor([4, 1]), target)
        one = model(vectors[:1, 1:], torch.tensor([1]), target[:, 1:])
    torch.testing.assert_close(whole[:, 1:], one)


def test_an_unchanged_source_is_not_copied() -> None:
    model, source = model_of(architecture="lstm", attention="general"), sources(6, 2)
    with torch.no_grad():
        state = model.step(torch.tensor([[1], [2]]), model.start(source)).state
        twice = state.select(torch.tensor([0, 0, 1, 1]))
        assert twice.select(torch.tensor([1, 1, 3, 2])).source is twice.source
        assert twice.select(torch.tensor([0, 1, 2])).source is not twice.source


def test_a_model_is_written_and_read(tmp_path: Any) -> None:
    for kind in KINDS:
        model = model_of(**kind).float()
        model.save_pretrained(tmp_path)
        read = Seq2Seq.from_pretrained(tmp_path)
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), read.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_size": 7}, "must be even"),
        ({"attention": "hard"}, "attention must be"),
        ({"tied": "all"}, "one embedding serves vocabularies of one size"),
        ({"tied": "all", "vector_input": 3}, "no embedding to tie"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Seq2SeqConfig(V, source_vocabulary_size=SOURCES, **settings)


def test_a_start_needs_a_source() -> None:
    with pytest.raises(TypeError, match="writes about a source"):
        model_of(architecture="gru").start()
    transformer = model_of(architecture="transformer")
    with pytest.raises(ValueError, match="no lengths"):
        transformer.step(torch.zeros(2, 3, dtype=torch.int64), None, lengths=torch.tensor([1, 2]))
