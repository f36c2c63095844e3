"""Given outputs: their log-probabilities, their errors, and what becomes of unknown words in them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.search import (
    Hypothesis,
    SearchConfig,
    beam_search,
    decoder,
    replace_unknown,
    score_references,
    score_targets,
    scoring,
    search_errors,
    width_sweep,
)
from tests.search.decoders import Rules, SourceDecoder, TableDecoder, every_output, sources
from tests.search.models import constant_model, small_model

EOS = 0
BOS = [torch.tensor([1])]


@torch.no_grad()
def _alone(model: Any, state: Any, tokens: list[int], context: int) -> float:
    """The definition, token by token."""
    terms = []
    for t, (token, following) in enumerate(pairwise(tokens), 1):
        output = model.step(torch.tensor([token]), state)
        state = output.state
        if t >= context:
            terms.append(output.logits[0].double().log_softmax(0)[following].item())
    return math.fsum(terms)


@settings(max_examples=40)
@given(data=st.data(), at_once=st.sampled_from([1, 40, 1 << 24]), shortest=st.sampled_from([1, 3, 32]))
def test_targets_of_sources_are_scored_by_the_definition(data: Any, at_once: int, shortest: int) -> None:
    model, context = SourceDecoder(6), data.draw(st.integers(1, 3))
    ids = st.lists(st.integers(0, 5), min_size=context + 1, max_size=9)
    outputs = data.draw(st.lists(ids, min_size=1, max_size=4))
    source, _ = sources(*[[n + 1, 5 - n] for n in range(len(outputs))])
    targets = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(output) for output in outputs], batch_first=True, padding_value=-100
    )
    lengths = torch.tensor([len(output) for output in outputs])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "LOGITS_AT_ONCE", at_once)
        patch.setattr(scoring, "_SHORTEST_WINDOW", shortest)
        found = score_targets(model, model.start(source), targets, lengths, context=context)
    expected = [
        _alone(model, model.start(source[row : row + 1]), output, context)
        for row, output in enumerate(outputs)
    ]
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("options", [{"architecture": "lstm"}, {"architecture": "transformer", "context": 4}])
def test_targets_after_a_prompt_are_scored_as_hypotheses_are(options: dict[str, Any]) -> None:
    model = small_model(6, **options)
    prompt, config = torch.tensor([3, 1, 4]), SearchConfig(beam_width=4, n_best=4, max_tokens=7)
    [found] = beam_search(model, [prompt], config, eos_id=EOS)
    whole = [torch.cat([prompt, torch.tensor(hypothesis.tokens)]) for hypothesis in found]
    targets = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True)
    sums = score_targets(model, model.start(), targets, torch.tensor([len(row) for row in whole]), context=3)
    assert sums.tolist() == pytest.approx([hypothesis.log_probability for hypothesis in found])


def test_ten_thousand_targets_without_underflow() -> None:
    model, targets = constant_model(torch.zeros(4)), torch.ones(2, 10_001, dtype=torch.int64)
    sums = score_targets(model, model.start(), targets)
    assert sums.tolist() == pytest.approx([-10_000 * math.log(4)] * 2, rel=1e-7)


@pytest.mark.parametrize(
    ("targets", "lengths", "context", "words"),
    [
        (torch.tensor([1, 2]), None, 1, r"targets must be \[B, T\] ids of at least one output, got \[2\]"),
        (torch.tensor([[1, 2]]), None, 0, "a context of at least one token"),
        (
            torch.tensor([[1, 2]]),
            None,
            2,
            r"lengths \[1\] above it, at most 2; got context 2 and lengths \[2\]",
        ),
        (torch.tensor([[1, 2]]), torch.tensor([3]), 1, "at most 2; got context 1"),
        (torch.tensor([[1, 2]]), torch.tensor([2, 2]), 1, r"lengths \[1\] above it"),
        (torch.tensor([[1, 4]]), None, 1, r"targets must lie in \[0, 4\), got 1 to 4"),
        (torch.tensor([[1.0, 2.0]]), None, 1, "targets must be a vector of integers"),
    ],
)
def test_bad_targets_are_refused(targets: Tensor, lengths: Any, context: int, words: str) -> None:
    model = TableDecoder(4)
    with pytest.raises(ValueError, match=words):
        score_targets(model, model.start(), targets, lengths, context=context)


# ---- errors --------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6), penalty=st.sampled_from([0.0, 0.3]), norm=st.sampled_from(["none", "gnmt"])
)
def test_references_have_the_scores_that_a_search_would_give_them(
    seed: int, penalty: float, norm: Any
) -> None:
    model = SourceDecoder(4, seed=seed)
    source, lengths = sources([1, 2, 3], [4, 5])
    config = SearchConfig(length_norm=norm, alpha=0.7, coverage_penalty=penalty, max_tokens=4)
    for row in range(2):
        outputs = every_output(model, BOS[0], Rules(config, 4, EOS), source[row])
        finished = [output for output in outputs if output.finished]
        some = slice(row, row + 1)
        for output in finished[:: len(finished) // 4]:
            [scored] = score_references(
                model,
                BOS,
                [torch.tensor(output.tokens)],
                config,
                eos_id=EOS,
                state=model.start(source[some]),
                source_lengths=lengths[some],
            )
            assert scored.tokens == output.tokens
            assert scored.score == pytest.approx(output.score)


def _scored(score: float, *tokens: int) -> Hypothesis:
    return Hypothesis(tokens, score, score, finished=True)


def test_whose_fault() -> None:
    references = [_scored(-1.0, 2, 0), _scored(-1.0, 2, 0), _scored(-3.0, 2, 0), _scored(-3.0, 2, 0)]
    outputs = [_scored(-1.0, 2, 0), _scored(-2.0, 3, 0), _scored(-2.0, 3, 0), _scored(-3.0, 4, 0)]
    errors = search_errors(references, outputs)
    assert (errors.correct, errors.search, errors.model) == (1, 1, 2)
    assert errors.search_share == 0.25
    with pytest.raises(ValueError, match="as many references as outputs, at least one; got 4 and 3"):
        search_errors(references, outputs[:3])
    with pytest.raises(ValueError, match="at least one; got 0 and 0"):
        search_errors([], [])


def test_a_sweep_of_widths_ends_without_search_errors() -> None:
    model = TableDecoder(4, seed=8)
    config = SearchConfig(max_tokens=4)
    best = [output for output in every_output(model, BOS[0], Rules(config, 4, EOS)) if output.finished]
    references = [torch.tensor(output.tokens) for output in (best[0], best[3], best[9])]
    results = width_sweep(model, BOS * 3, references, [1, 2, 4**4], config, eos_id=EOS)
    assert [result.width for result in results] == [1, 2, 256]
    assert results[-1].errors.search == 0
    assert all(one.score <= results[-1].score + 1e-12 for one in results)
    with pytest.raises(ValueError, match="reference 1 must end in EOS, 0: append it"):
        width_sweep(model, BOS, [torch.tensor([1])], [1], config, eos_id=EOS)


# ---- unknown words -------------------------------------------------------------------------------


def test_unknown_words_come_from_where_the_attention_is() -> None:
    attention = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    tokens, source = ["a", "<unk>", "<unk>"], ["x", "y", "zwei"]
    assert replace_unknown(tokens, attention, source, unknown="<unk>") == ["a", "zwei", "x"]
    known = {"zwei": "two"}
    assert replace_unknown(tokens, attention, source, unknown="<unk>", dictionary=known) == ["a", "two", "x"]
    assert replace_unknown(["a", "b", "c"], attention, source, unknown="<unk>") == ["a", "b", "c"]
    assert replace_unknown(["<unk>"], attention, source, unknown="<unk>") == ["x"]
    assert replace_unknown([], attention[:0], source, unknown="<unk>") == []
    with pytest.raises(ValueError, match=r"attention must be \[3, 3\].*got shape \[2, 3\]"):
        replace_unknown(tokens, attention[:2], source, unknown="<unk>")


def test_unknown_words_of_a_hypothesis() -> None:
    """The attention of a search has the rows and columns that are asked for."""
    model = SourceDecoder(5)
    source, lengths = sources([3, 2], [4, 1, 2])
    found = beam_search(
        model,
        BOS * 2,
        SearchConfig(max_tokens=3),
        eos_id=EOS,
        state=model.start(source),
        source_lengths=lengths,
        return_attention=True,
    )
    for [best], words in zip(found, (["drei", "zwei"], ["vier", "eins", "zwei"]), strict=True):
        assert best.attention is not None
        tokens = ["<unk>" for _ in best.tokens]
        replaced = replace_unknown(tokens, best.attention, words, unknown="<unk>")
        assert set(replaced) <= set(words)
