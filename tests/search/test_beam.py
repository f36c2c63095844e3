"""Beam search against all outputs there are, against a search that never stops early, and greedy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.search import PromptError, SamplingConfig, SearchConfig, beam, beam_search, generate
from tests.search.decoders import (
    HASHES,
    NORMS,
    Rules,
    SourceDecoder,
    TableDecoder,
    assert_same,
    every_output,
    hash_of,
    patient_beam,
    sources,
)
from tests.search.models import constant_model, small_model

EOS = 0
BOS = [torch.tensor([1])]


@st.composite
def _configs(draw: Any, V: int, *, width: int | None = None, coverage: bool = False) -> SearchConfig:
    norm, alpha = draw(NORMS)
    beam_width = draw(st.integers(1, 6)) if width is None else width
    max_tokens = draw(st.integers(1, 4))
    return SearchConfig(
        beam_width=beam_width,
        n_best=draw(st.integers(1, min(beam_width, 4))),
        length_norm=norm,
        alpha=alpha,
        coverage_penalty=draw(st.sampled_from([0.0, 0.4])) if coverage else 0.0,
        max_tokens=max_tokens,
        min_tokens=draw(st.integers(0, max_tokens)),
        no_repeat_ngram=draw(st.sampled_from([0, 0, 1, 2])) if max_tokens < V - 1 else 0,
        forbidden=draw(st.sampled_from([(), (V - 1,), (V - 1, (1, 2)), ((1, 1, 2), (2, 1))]))
        if V > 3
        else (),
    )


# ---- what is found -------------------------------------------------------------------------------


@settings(max_examples=60)
@given(data=st.data(), V=st.integers(3, 4), seed=st.integers(0, 10**6))
def test_a_beam_with_room_for_all_outputs_finds_the_best(data: Any, V: int, seed: int) -> None:
    model = TableDecoder(V, seed=seed)
    config = data.draw(_configs(V, width=V**4))
    rules = Rules(config, config.max_tokens, EOS)
    everything = every_output(model, BOS[0], rules)
    if not everything:
        with pytest.raises(ValueError, match=r"prompts \[1\]: no output was found that the rules allow"):
            beam_search(model, BOS, config, eos_id=EOS)
        return
    [found] = beam_search(model, BOS, config, eos_id=EOS)
    assert_same(found, everything[: config.n_best])


@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_the_early_end_changes_nothing(data: Any, seed: int) -> None:
    """With sources, attention and coverage; several at once, and each as if it were alone."""
    V = 6
    model = SourceDecoder(V, seed=seed)
    rows = data.draw(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4))
    source, lengths = sources(*rows)
    config = data.draw(_configs(V, coverage=True))
    factor = data.draw(st.sampled_from([0.0, 1.5]))
    config = SearchConfig(**{**config.__dict__, "max_tokens_per_source": factor})
    found = beam_search(
        model,
        BOS * len(rows),
        config,
        eos_id=EOS,
        state=model.start(source),
        source_lengths=lengths,
        return_attention=True,
    )
    for row, hypotheses in zip(source, found, strict=True):
        limit = config.limit(int((row != 0).sum()))
        assert_same(hypotheses, patient_beam(model, BOS[0], Rules(config, limit, EOS), row))


@pytest.mark.parametrize("norm", ["power", "gnmt"])
def test_a_long_output_may_overtake_one_that_ended_early(norm: Any) -> None:
    """At the next length it would still score lower: what counts is the greatest length there may be."""
    model = TableDecoder(3)
    with torch.no_grad():
        model.table.copy_(torch.tensor([-99.0, -99.0, 0.0]).expand(HASHES, 3))
        model.table[hash_of([1])] = torch.tensor([0.8, 1e-40, 0.2]).double().log()
    config = SearchConfig(beam_width=2, n_best=1, max_tokens=40, length_norm=norm)
    [[best]] = beam_search(model, BOS, config, eos_id=EOS)
    assert best.tokens == (2,) * 40
    assert best.score == pytest.approx(math.log(0.2) / config.norm(40))
    [[short]] = beam_search(model, BOS, SearchConfig(beam_width=2, max_tokens=40), eos_id=EOS)
    assert short.tokens == (EOS,)


def test_a_wider_beam_than_the_vocabulary_starts_with_fewer_hypotheses() -> None:
    model = TableDecoder(3)
    config = SearchConfig(beam_width=50, n_best=50, max_tokens=2)
    [found] = beam_search(model, BOS, config, eos_id=EOS)
    assert len(found) == 1 + 2 * 3  # EOS, or two tokens


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), norm=NORMS, stop=st.booleans())
def test_a_beam_of_one_is_greedy(seed: int, norm: Any, stop: bool) -> None:
    model = TableDecoder(5, seed=seed, dtype=torch.float32)
    prompts = [torch.tensor([1]), torch.tensor([2, 4, 3])]
    drawn = generate(
        model, prompts, SamplingConfig(temperature=0, max_tokens=9, stop_at_eos=stop), eos_id=EOS
    )
    greedy = [[token for token in row if token >= 0] for row in torch.stack(list(drawn)).T.tolist()]
    config = SearchConfig(beam_width=1, max_tokens=9, length_norm=norm[0], alpha=norm[1])
    found = beam_search(model, prompts, config, eos_id=EOS if stop else None)
    assert [list(best.tokens) for [best] in found] == greedy
    assert [best.finished for [best] in found] == [stop and row[-1] == EOS for row in greedy]


@pytest.mark.parametrize(
    "options",
    [{"architecture": "gru"}, {"architecture": "lstm"}, {"architecture": "transformer", "context": 4}],
)
def test_language_models(options: dict[str, Any]) -> None:
    model = small_model(5, **options)
    prompts = [torch.tensor([1, 3]), torch.tensor([4]), torch.tensor([2, 2, 1])]
    config = SearchConfig(beam_width=3, n_best=3, max_tokens=6, length_norm="gnmt", alpha=0.8)
    found = beam_search(model, prompts, config, eos_id=EOS)
    for prompt, hypotheses in zip(prompts, found, strict=True):
        assert_same(hypotheses, patient_beam(model, prompt, Rules(config, 6, EOS)))


# ---- ties, neighbours, precision -----------------------------------------------------------------


def test_of_equal_hypotheses_the_one_before_wins_then_the_lower_id() -> None:
    config = SearchConfig(beam_width=3, n_best=3, max_tokens=2)
    [found] = beam_search(constant_model(torch.zeros(700)), BOS, config, eos_id=None)
    assert [h.tokens for h in found] == [(0, 0), (0, 1), (0, 2)]


def test_a_source_does_not_depend_on_its_neighbours() -> None:
    model = SourceDecoder(6, seed=3)
    source, lengths = sources([1, 2, 3], [4], [5, 5], [2, 9, 1, 4])
    config = SearchConfig(beam_width=4, n_best=4, max_tokens=8, coverage_penalty=0.2, length_norm="power")
    options: dict[str, Any] = {"config": config, "eos_id": EOS, "return_attention": True}
    together = beam_search(model, BOS * 4, state=model.start(source), source_lengths=lengths, **options)
    for row in range(4):
        alone = slice(row, row + 1)
        state, length = model.start(source[alone, : lengths[row]]), lengths[alone]
        [found] = beam_search(model, BOS, state=state, source_lengths=length, **options)
        assert_same(together[row], found)


def test_sources_that_are_done_leave_the_batch() -> None:
    model = TableDecoder(4)
    with torch.no_grad():
        model.table.copy_(torch.tensor([-20.0, -9.0, 0.0, -9.0]).expand(HASHES, 4))
        model.table[hash_of([1]), EOS] = 30
    sizes: list[int] = []
    predict = model._predict
    model._predict = lambda read, source: (sizes.append(len(read)), predict(read, source))[1]
    config = SearchConfig(beam_width=2, max_tokens=4)
    found = beam_search(model, [torch.tensor([1]), torch.tensor([2])], config, eos_id=EOS)
    assert [best.tokens for [best] in found] == [(EOS,), (2, 2, 2, 2)]
    assert sizes == [2, 2, 2, 2]  # of both; from then on two hypotheses of the second


@pytest.mark.parametrize("every", [2, 5, 100])
def test_looking_rarely_finds_the_same(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where the host looks now and then."""
    model = SourceDecoder(5, seed=1)
    source, lengths = sources([1, 2, 3], [4], [5, 5])
    config = SearchConfig(beam_width=3, n_best=2, max_tokens=9, length_norm="gnmt", coverage_penalty=0.1)
    options: dict[str, Any] = {"eos_id": EOS, "source_lengths": lengths, "return_attention": True}
    expected = beam_search(model, BOS * 3, config, state=model.start(source), **options)
    monkeypatch.setattr(beam, "CHECK_EVERY", every)
    monkeypatch.setattr(beam, "_looks_are_free", lambda device: False)
    for one, other in zip(
        beam_search(model, BOS * 3, config, state=model.start(source), **options), expected, strict=True
    ):
        assert_same(one, other)


def test_ten_thousand_tokens_without_underflow() -> None:
    logits = torch.zeros(4)
    logits[EOS] = -math.inf
    config = SearchConfig(beam_width=2, n_best=2, max_tokens=10_000)
    [found] = beam_search(constant_model(logits), BOS, config, eos_id=EOS)
    for hypothesis in found:
        assert len(hypothesis.tokens) == 10_000
        assert hypothesis.log_probability == pytest.approx(-10_000 * math.log(3), rel=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_logits_are_summed_in_higher(dtype: torch.dtype) -> None:
    model = TableDecoder(5, dtype=dtype)
    config = SearchConfig(beam_width=3, n_best=3, max_tokens=6)
    [found] = beam_search(model, BOS, config, eos_id=EOS)
    assert_same(found, patient_beam(model, BOS[0], Rules(config, 6, EOS)), within=1e-5)


def test_dropout_is_off_and_the_callers_modes_stay() -> None:
    model = small_model(5, dropout=0.9)
    config = SearchConfig(beam_width=3, max_tokens=6)
    expected = beam_search(model, BOS, config, eos_id=EOS)
    assert beam_search(model.train(), BOS, config, eos_id=EOS) == expected
    assert model.training
    assert torch.is_grad_enabled()


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "words"),
    [(math.nan, r"logits are NaN.*did training diverge\?"), (math.inf, r"logits are \+inf.*diverge")],
)
def test_a_damaged_model(bad: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        beam_search(constant_model(torch.tensor([0.0, bad])), BOS, SearchConfig(), eos_id=EOS)


def test_nothing_is_possible() -> None:
    with pytest.raises(ValueError, match="no token is left to draw"):
        beam_search(constant_model(torch.full((3,), -math.inf)), BOS, SearchConfig(), eos_id=EOS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompts": []}, "at least one prompt, got none"),
        ({"eos_id": 5}, r"eos_id must lie in \[0, 5\)"),
        ({"suppress_ids": [9]}, r"suppressed ids must lie in \[0, 5\)"),
        ({"config": SearchConfig(max_tokens=0)}, "at least one token"),
        ({"config": SearchConfig(coverage_penalty=1)}, "a model whose steps return attention"),
        ({"config": SearchConfig(max_tokens_per_source=1)}, "max_tokens_per_source needs source_lengths"),
        (
            {
                "config": SearchConfig(max_tokens=1, max_tokens_per_source=1, min_tokens=3),
                "source_lengths": torch.tensor([1]),
            },
            "prompt 1: an output has at least 3 tokens by min_tokens, and may have 2",
        ),
        ({"source_lengths": torch.tensor([1, 2])}, r"source_lengths must be \[1\].*got shape \[2\]"),
        ({"prefixes": []}, "a prefix for each of 1 prompts, got 0"),
        ({"prefixes": [torch.tensor([1] * 4)]}, "prefix 1 has 4 tokens, and its output may have 3"),
        ({"prefixes": [torch.tensor([0, 1])]}, "prefix 1 goes on behind EOS, 0"),
        ({"prefixes": [torch.tensor([7])]}, r"prefix 1 must lie in \[0, 5\)"),
        ({"required": [[1], [2]]}, "required tokens for each of 1 prompts, got 2"),
        ({"required": [[0]]}, r"required tokens \[0\] have \[0\], which are forbidden or EOS"),
        ({"required": [[2]], "suppress_ids": [2]}, r"required tokens \[2\] have \[2\], which are forbidden"),
        (
            {"required": [[(3, 1, 2)]], "config": SearchConfig(max_tokens=9, forbidden=((1, 2),))},
            r"required tokens \[3, 1, 2\] have \[1, 2\], which are forbidden",
        ),
        ({"required": [[()]]}, "prompt 1: required tokens: a phrase must have at least one token"),
        ({"required": [[(1, 2), (3, 1), (4, 4)]]}, "are 5 tokens, and its output may have 3"),
        ({"required": [[1, 2, 3, 4]]}, "prefix and required tokens are 4 tokens, and its output may have 3"),
        ({"required": [[6]]}, r"prompt 1: required tokens must lie in \[0, 5\)"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {
        "prompts": BOS,
        "config": SearchConfig(max_tokens=3),
        "eos_id": EOS,
        **options,
    }
    with pytest.raises(ValueError, match=words):
        beam_search(TableDecoder(5), **arguments)


@pytest.mark.parametrize(
    ("settings", "prompts", "words"),
    [
        ({"max_tokens": 0}, [0, 3], "at least one token"),
        ({"max_tokens": 0, "min_tokens": 2}, [0, 3], "and may have 0 by max_tokens"),
        ({"max_tokens": 1, "min_tokens": 3}, [1], "and may have 2 by max_tokens"),
    ],
)
def test_sources_without_room_are_named_by_one_limit(
    settings: dict[str, Any], prompts: list[int], words: str
) -> None:
    """The others can be searched without them, or are refused next with a number of their own."""
    lengths = torch.tensor([1, 2, 4, 1]) if settings["max_tokens"] == 0 else torch.tensor([5, 2, 4, 4])
    config = SearchConfig(max_tokens_per_source=0.5, **settings)
    options: dict[str, Any] = {"eos_id": EOS, "source_lengths": lengths}
    with pytest.raises(PromptError, match=words) as caught:
        beam_search(TableDecoder(5), BOS * 4, config, **options)
    assert caught.value.prompts == prompts


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beam_width": 0}, "beam_width must be at least 1, got 0"),
        ({"n_best": 5}, "n_best must be at most beam_width, got 5 and 4"),
        ({"length_norm": "mean"}, "length_norm must be one of none, power, gnmt"),
        ({"alpha": -1.0}, "alpha must not be negative"),
        ({"coverage_penalty": math.nan}, "coverage_penalty must not be negative, got nan"),
        ({"min_tokens": 7, "max_tokens": 3}, "min_tokens must be at most max_tokens, got 7 and 3"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram must not be negative"),
    ],
)
def test_bad_configurations_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SearchConfig(**settings)


def test_a_source_that_is_done_at_once_leaves_the_others_their_own_states() -> None:
    """Rows that are as many as before need not be the same ones."""
    compared = 0
    for seed in range(60):
        torch.manual_seed(seed)
        model = LanguageModel(LanguageModelConfig(6, hidden_size=8)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(6)  # so that some prompts end in their first step
        prompts, config = [torch.tensor([0]), torch.tensor([1])], SearchConfig(beam_width=2, max_tokens=6)
        together = beam_search(model, prompts, config, eos_id=0)
        for prompt, found in zip(prompts, together, strict=True):
            [alone] = beam_search(model, [prompt], config, eos_id=0)
            assert found[0].tokens == alone[0].tokens
            assert found[0].score == pytest.approx(alone[0].score, abs=1e-4)
            compared += len(found[0].tokens) == 1
    assert compared  # sources that were done at once
