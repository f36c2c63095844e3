"""Translators of every architecture in every search: prompts and prefixes of unequal lengths, attention."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyrnn.models import Seq2Seq, Seq2SeqConfig, Source, StepOutput
from pyrnn.search import (
    Hypothesis,
    SamplingConfig,
    SearchConfig,
    beam_search,
    decoder,
    generate,
    score_references,
    score_targets,
)
from tests.search.decoders import Rules, patient_beam, sources

V, EOS = 6, 0
KINDS: list[dict[str, Any]] = [
    {"architecture": "gru", "attention": "additive"},
    {"architecture": "transformer", "num_layers": 2},
    {"architecture": "transformer", "norm_first": False},
]
PROMPTS = [torch.tensor([1, 3]), torch.tensor([4]), torch.tensor([2, 2, 1, 5, 3])]
TEXTS = [1, 2, 3], [4, 9, 5, 7], [6]


class Translator(nn.Module):
    """A small random translator of sources [N, S] that are padded with 0."""

    def __init__(self, **kind: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes: dict[str, Any] = {
            "hidden_size": 8,
            "embedding_size": 6,
            "num_layers": 1,
            "num_heads": 2,
            **kind,
        }
        self.model = Seq2Seq(Seq2SeqConfig(V, source_vocabulary_size=10, **sizes)).double()
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(3)  # so that predictions and weights differ clearly
        self.eval()

    @property
    def vocabulary_size(self) -> int:
        return V

    def start(self, source: Any = None) -> Any:
        with torch.no_grad():
            return self.model.start(Source(source.T, (source != 0).sum(1)))

    def step(
        self, tokens: Tensor, state: Any, *, lengths: Tensor | None = None, need_weights: bool = False
    ) -> StepOutput:
        return self.model.step(tokens, state, lengths=lengths, need_weights=need_weights)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [h.tokens for h in found] == [h.tokens for h in expected]
    assert [h.score for h in found] == pytest.approx([h.score for h in expected])
    for one, other in zip(found, expected, strict=True):
        assert one.attention is not None
        assert other.attention is not None
        torch.testing.assert_close(one.attention, other.attention)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("at_once", [1, 1 << 24])
def test_prompts_of_unequal_lengths(
    kind: dict[str, Any], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "LOGITS_AT_ONCE", at_once)  # a prompt is read token by token, or at once
    model, (source, lengths) = Translator(**kind), sources(*TEXTS)
    config = SearchConfig(beam_width=3, n_best=3, max_tokens=6, length_norm="power", coverage_penalty=0.3)
    found = beam_search(
        model,
        PROMPTS,
        config,
        eos_id=EOS,
        state=model.start(source),
        source_lengths=lengths,
        return_attention=True,
    )
    for row, prompt, hypotheses in zip(source, PROMPTS, found, strict=True):
        assert_same(hypotheses, patient_beam(model, prompt, Rules(config, 6, EOS), row))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_prefixes_of_unequal_lengths(kind: dict[str, Any]) -> None:
    model, (source, lengths) = Translator(**kind), sources(*TEXTS)
    config, prefixes = SearchConfig(beam_width=3, n_best=2, max_tokens=5), ((), (3,), (2, 5, 4))
    found = beam_search(
        model,
        PROMPTS,
        config,
        eos_id=EOS,
        state=model.start(source),
        source_lengths=lengths,
        prefixes=[torch.tensor(prefix, dtype=torch.int64) for prefix in prefixes],
        return_attention=True,
    )
    for row, prompt, prefix, hypotheses in zip(source, PROMPTS, prefixes, found, strict=True):
        assert_same(hypotheses, patient_beam(model, prompt, Rules(config, 5, EOS, prefix), row))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_drawn_outputs_do_not_depend_on_their_neighbours(kind: dict[str, Any]) -> None:
    model, (source, _) = Translator(**kind), sources(*TEXTS)
    config, greedy = SamplingConfig(temperature=0, max_tokens=6), SearchConfig(beam_width=1, max_tokens=6)
    drawn = torch.stack(list(generate(model, PROMPTS, config, state=model.start(source)))).T
    for row, prompt, tokens in zip(source, PROMPTS, drawn.tolist(), strict=True):
        [expected] = patient_beam(model, prompt, Rules(greedy, 6), row)
        assert tokens == list(expected.tokens)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_outputs_of_unequal_lengths_are_scored(kind: dict[str, Any]) -> None:
    """By the definition, token by token, and as a search scores what it finds."""
    model, (source, lengths) = Translator(**kind), sources(*TEXTS)
    outputs = [[1, 3, 2, EOS], [1, EOS], [1, 5, 5, 4, 2, EOS]]
    targets = nn.utils.rnn.pad_sequence([torch.tensor(output) for output in outputs], batch_first=True)
    counts = torch.tensor([len(output) for output in outputs])
    expected = []
    for row, output in zip(source, outputs, strict=True):
        state, total = model.start(row.unsqueeze(0)), 0.0
        for token, following in pairwise(output):
            with torch.no_grad():
                step = model.step(torch.tensor([token]), state)
            state, total = step.state, total + step.logits[0].log_softmax(0)[following].item()
        expected.append(total)
    assert score_targets(model, model.start(source), targets, counts).tolist() == pytest.approx(expected)
    scored = score_references(
        model,
        [torch.tensor([1])] * 3,
        [torch.tensor(output[1:]) for output in outputs],
        SearchConfig(),
        eos_id=EOS,
        state=model.start(source),
        source_lengths=lengths,
        return_attention=True,
    )
    assert [each.log_probability for each in scored] == pytest.approx(expected)
    for each, length, output in zip(scored, lengths.tolist(), outputs, strict=True):
        assert each.attention is not None
        assert each.attention.shape == (len(output) - 1, length)
        torch.testing.assert_close(each.attention.sum(1), torch.ones(len(output) - 1, dtype=torch.float64))
