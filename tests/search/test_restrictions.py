"""Rules that hold for draws as for searches, and draws of models that have a source."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.search import OutputConfig, SamplingConfig, SearchConfig, generate
from pyrnn.search.filtering import top_candidates
from pyrnn.search.phrases import contains
from pyrnn.search.restrictions import Restrictions
from tests.search.decoders import Rules, SourceDecoder, TableDecoder, patient_beam, sources
from tests.search.models import constant_model

EOS = 0
BOS = [torch.tensor([1])]
NOTHING = torch.empty(0, dtype=torch.int64)


def _rows(model: Any, prompts: list[Tensor], config: SamplingConfig, **options: Any) -> list[list[int]]:
    return torch.stack(list(generate(model, prompts, config, **options))).T.tolist()


# ---- the rules -----------------------------------------------------------------------------------


@settings(max_examples=100)
@given(data=st.data(), n=st.integers(1, 4), T=st.integers(0, 12), V=st.integers(1, 4))
def test_what_would_repeat_an_n_gram(data: Any, n: int, T: int, V: int) -> None:
    written = [[data.draw(st.integers(0, V - 1)) for _ in range(T)] for _ in range(2)]
    logits = torch.zeros(1, 2, V)
    rules = Restrictions(NOTHING, no_repeat_ngram=n)
    allowed = rules.apply(logits, torch.tensor(written, dtype=torch.int64).view(1, 2, T))
    assert (logits == 0).all()
    for row, past in zip(allowed[0].tolist(), written, strict=True):
        seen = [tuple(past[i : i + n]) for i in range(T - n + 1)]
        for token, logit in enumerate(row):
            repeats = n <= T and (*past[T - n + 1 :], token) in seen
            assert logit == (-math.inf if repeats else 0)


def test_a_prefix_is_written_as_it_is_and_no_rule_holds_for_it() -> None:
    prefixes = torch.tensor([[2, 2], [3, -1], [-1, -1]])
    rules = Restrictions(torch.tensor([2]), EOS, min_tokens=9, no_repeat_ngram=1, prefixes=prefixes)
    logits = torch.arange(4.0).expand(3, 1, 4)
    first = rules.apply(logits, torch.empty(3, 1, 0, dtype=torch.int64))
    inf = math.inf
    assert first[:, 0].tolist() == [[-inf, -inf, 2, -inf], [-inf, -inf, -inf, 3], [-inf, 1, -inf, 3]]
    second = rules.apply(logits, torch.tensor([[[2]], [[3]], [[1]]]))
    assert second[:, 0].tolist() == [[-inf, -inf, 2, -inf], [-inf, 1, -inf, -inf], [-inf, -inf, -inf, 3]]
    chosen = rules.select(torch.tensor([1])).apply(logits[:1], torch.empty(1, 1, 0, dtype=torch.int64))
    assert torch.equal(chosen, first[1:2])


def test_without_rules_logits_are_not_copied() -> None:
    logits = torch.zeros(2, 1, 5)
    assert Restrictions(NOTHING, EOS).apply(logits, torch.empty(2, 1, 3)) is logits


@given(
    rows=st.lists(st.lists(st.integers(-2, 2), min_size=7, max_size=7), min_size=1, max_size=3),
    k=st.integers(1, 7),
)
def test_candidates_are_in_a_fixed_order_whatever_is_equal(rows: list[list[int]], k: int) -> None:
    values, places = top_candidates(torch.tensor(rows, dtype=torch.float32), k)
    for row, found, numbers in zip(rows, places.tolist(), values.tolist(), strict=True):
        assert found == sorted(range(7), key=lambda place: (-row[place], place))[:k]
        assert numbers == [row[place] for place in found]


# ---- draws ---------------------------------------------------------------------------------------


def test_draws_keep_the_rules() -> None:
    config = SamplingConfig(
        max_tokens=6, min_tokens=4, no_repeat_ngram=2, forbidden=(3, (1, 2), (4, 4, 5)), stop_at_eos=True
    )
    rows = _rows(constant_model(torch.zeros(6)), BOS * 200, config, eos_id=EOS)
    lengths = set()
    for row in rows:
        row = [token for token in row if token >= 0]
        lengths.add(len(row))
        assert EOS not in row[:3]
        assert not any(contains(row, phrase) for phrase in ((3,), (1, 2), (4, 4, 5)))
        pairs = list(pairwise(row))
        assert len(pairs) == len(set(pairs))
    assert lengths == {4, 5, 6}


def test_a_prefix_comes_before_the_draws() -> None:
    prefixes = [torch.tensor([2, 4]), torch.tensor([], dtype=torch.int64), torch.tensor([3])]
    config = SamplingConfig(max_tokens=5, temperature=0)
    model = TableDecoder(6, seed=4)
    rows = _rows(model, BOS * 3, config, prefixes=prefixes)
    for row, prefix in zip(rows, prefixes, strict=True):
        n = len(prefix)
        assert row[:n] == prefix.tolist()
        [read] = _rows(model, [torch.cat([BOS[0], prefix])], SamplingConfig(max_tokens=5 - n, temperature=0))
        assert row[n:] == read  # as if it had been in the prompt


def test_greedy_draws_of_each_source_are_those_of_the_definition() -> None:
    model = SourceDecoder(6, seed=5)
    source, lengths = sources([1, 2, 3, 4], [5], [2, 2])
    config = SamplingConfig(temperature=0, max_tokens=2, max_tokens_per_source=1.5, stop_at_eos=True)
    rows = _rows(model, BOS * 3, config, eos_id=EOS, state=model.start(source), source_lengths=lengths)
    for row, words, limit in zip(rows, source, [8, 3, 5], strict=True):
        [best] = patient_beam(model, BOS[0], Rules(SearchConfig(beam_width=1), limit, EOS), words)
        assert [token for token in row if token >= 0] == list(best.tokens)
        assert all(token == -1 for token in row[len(best.tokens) :])


def test_draws_of_a_source_follow_its_distribution() -> None:
    model = SourceDecoder(4, seed=6)
    source, _ = sources([3, 1])
    probabilities = model.step(BOS[0], model.start(source)).logits[0].softmax(0)
    many = model.start(source.expand(20_000, -1))
    [tokens] = generate(model, BOS * 20_000, SamplingConfig(max_tokens=1), state=many)
    shares = tokens.bincount(minlength=4).double() / 20_000
    assert (shares - probabilities).abs().max() < 4 * math.sqrt(0.25 / 20_000)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prefixes": [torch.tensor([1, 1, 1])]}, "prefix 1 has 3 tokens, and its output may have 2"),
        ({"source_lengths": torch.tensor([[1]])}, r"source_lengths must be \[1\]"),
    ],
)
def test_bad_arguments_are_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        generate(TableDecoder(4), BOS, SamplingConfig(max_tokens=2), **options)


def test_the_limit_grows_with_the_source() -> None:
    config = OutputConfig(max_tokens=3, max_tokens_per_source=0.5)
    assert [config.limit(length) for length in (0, 1, 2, 9)] == [3, 3, 4, 7]
