import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.search import SamplingConfig, decoder, generate
from tests.search.models import Calls, constant_model, next_logits, small_model

V = 7
GREEDY = SamplingConfig(temperature=0, max_tokens=6)


def _drawn(
    model: LanguageModel, prompts: list[Tensor], config: SamplingConfig, **options: Any
) -> list[list[int]]:
    """What is drawn, row by row."""
    return torch.stack(list(generate(model, prompts, config, **options))).T.tolist()


def _prompts(*lengths: int, below: int = V) -> list[Tensor]:
    return [torch.randint(below, (n,)) for n in lengths]


# ---- what is drawn -------------------------------------------------------------------------------


@pytest.mark.parametrize("logits_at_once", [1, 3 * V * 5, 1 << 24])  # windows of one step, of a few, of all
@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "rnn"},
        {"architecture": "gru"},
        {"architecture": "lstm"},
        {"input": "one-hot"},
        {"architecture": "transformer", "context": 4},
    ],
)
def test_unequal_prompts_together_continue_as_each_alone(
    options: dict[str, Any], logits_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(V, **options)
    prompts = _prompts(3, 11, 1, 4, 11)
    alone = [_drawn(model, [prompt], GREEDY)[0] for prompt in prompts]
    monkeypatch.setattr(decoder, "LOGITS_AT_ONCE", logits_at_once)
    assert _drawn(model, prompts, GREEDY) == alone
    assert len({tuple(row) for row in alone}) > 1


@settings(max_examples=25)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_greedy_rows_are_the_likeliest_given_all_before(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model, prompts = small_model(V), _prompts(*lengths)
    for prompt, row in zip(
        prompts, _drawn(model, prompts, SamplingConfig(temperature=0, max_tokens=2)), strict=True
    ):
        read = prompt.tolist()
        for token in row:  # read from the start each time: the carried state must not matter
            logits = next_logits(model, read)
            assert logits[token] >= logits.max() - 1e-9
            read.append(token)


def _chi_square(counts: Tensor, probabilities: Tensor) -> float:
    """The statistic as a share of its 99.9 % quantile, by the approximation of Wilson and Hilferty."""
    possible = probabilities > 0
    assert counts[~possible].sum() == 0, "an impossible token was drawn"
    counts, expected = counts[possible].double(), probabilities[possible] * counts.sum()
    freedom = len(expected) - 1
    if freedom == 0:
        return 0.0
    quantile = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    return ((counts - expected) ** 2 / expected).sum().item() / quantile


@pytest.mark.parametrize(
    ("settings", "possible"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"temperature": 0.5}, [0, 1, 2, 3, 4]),
        ({"temperature": 3.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 3}, [1, 2, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.6}, [1, 4]),
        ({"top_p": 0.0}, [1]),
        ({"temperature": 2.0, "top_k": 4, "top_p": 0.8}, [1, 2, 4]),
        ({"temperature": 1e-40}, [1]),
    ],
)
def test_draws_follow_the_filtered_distribution(settings: dict[str, Any], possible: list[int]) -> None:
    logits = torch.tensor([0.08, 0.40, 0.17, 0.05, 0.30, 0.0]).log()  # the last one is impossible
    config = SamplingConfig(**settings, max_tokens=1)
    weights = logits.double().sub(logits.max()).div(config.temperature).exp()
    weights[[i for i in range(6) if i not in possible]] = 0
    [tokens] = generate(constant_model(logits), [torch.tensor([0])] * 20_000, config)
    assert _chi_square(tokens.bincount(minlength=6), weights / weights.sum()) < 1


def test_pairs_of_draws_follow_the_chain_rule() -> None:
    model, prompt = small_model(4), [2, 0, 1]
    first = next_logits(model, prompt).softmax(0)
    second = torch.stack([next_logits(model, [*prompt, i]).softmax(0) for i in range(4)])
    a, b = generate(model, [torch.tensor(prompt)] * 20_000, SamplingConfig(max_tokens=2))
    assert _chi_square((4 * a + b).bincount(minlength=16), (first.unsqueeze(1) * second).flatten()) < 1


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_give_possible_tokens(
    uniform: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, uniform, dtype=torch.float64))
    model = constant_model(torch.tensor([0.0, 1.0, 5.0, 0.0]))
    rows = _drawn(model, [torch.tensor([1])] * 3, SamplingConfig(max_tokens=1), suppress_ids=[0, 3])
    assert rows == [[1 if uniform == 0 else 2]] * 3


def test_a_large_vocabulary() -> None:
    logits = torch.full((100_000,), -20.0)
    logits[[7, 99_999]] = torch.tensor([0.7, 0.3]).log()
    [tokens] = generate(
        constant_model(logits), [torch.tensor([1])] * 50, SamplingConfig(max_tokens=1, top_p=0.9)
    )
    assert set(tokens.tolist()) == {7, 99_999}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_suppressed_tokens_are_never_drawn(temperature: float) -> None:
    model = constant_model(torch.tensor([9.0, 0.0, 8.0, 0.0]))
    config = SamplingConfig(temperature=temperature, max_tokens=50)
    assert {
        i for row in _drawn(model, _prompts(1, 2, below=4), config, suppress_ids=[0, 2, 2]) for i in row
    } <= {1, 3}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_models(dtype: torch.dtype) -> None:
    model = small_model(V, dtype=dtype)
    assert len(_drawn(model, _prompts(3, 2), SamplingConfig(top_p=0.9, max_tokens=5))[0]) == 5


# ---- when it ends --------------------------------------------------------------------------------


def test_a_finished_row_gives_minus_one_and_the_last_ends_all() -> None:
    config = SamplingConfig(max_tokens=60, stop_at_eos=True)
    rows = _drawn(constant_model(torch.zeros(4)), _prompts(1, 2, 3, below=4), config, eos_id=2)
    ends = [row.index(2) for row in rows]
    assert len(set(ends)) > 1
    for row, end in zip(rows, ends, strict=True):
        assert all(token in (0, 1, 3) for token in row[:end])
        assert all(token == -1 for token in row[end + 1 :])
    assert len(rows[0]) == max(ends) + 1


def test_a_finished_row_does_not_change_its_neighbours() -> None:
    model, prompts = small_model(V), _prompts(4, 2, 5)
    free = _drawn(model, prompts, GREEDY)
    stop = free[0][1]
    stopped = _drawn(
        model, prompts, SamplingConfig(temperature=0, max_tokens=6, stop_at_eos=True), eos_id=stop
    )
    for with_end, without in zip(stopped, free, strict=True):
        end = without.index(stop) + 1 if stop in without else 6
        expected = without[:end] + [-1] * (6 - end)
        assert with_end == expected[: len(with_end)]


def test_eos_does_not_end_a_row_unless_asked() -> None:
    rows = _drawn(constant_model(torch.tensor([0.0, 9.0])), [torch.tensor([0])], GREEDY, eos_id=1)
    assert rows == [[1] * 6]


def test_a_token_costs_one_step_and_the_last_no_more() -> None:
    model = small_model(V)
    calls = Calls(model)
    tokens = generate(model, _prompts(4, 9), SamplingConfig(max_tokens=3))
    assert calls.shapes == []  # nothing is read before it is needed
    next(tokens)
    assert calls.shapes == [(9, 2, V)]
    assert len(list(tokens)) == 2
    assert calls.shapes == [(9, 2, V), (1, 2, V), (1, 2, V)]


def test_no_tokens_wanted() -> None:
    model = small_model(V)
    calls = Calls(model)
    assert list(generate(model, _prompts(4), SamplingConfig(max_tokens=0))) == []
    assert calls.shapes == []


def test_a_long_prompt_never_makes_all_its_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "LOGITS_AT_ONCE", 10 * 2 * V)
    model = small_model(V)
    calls = Calls(model)
    next(generate(model, _prompts(95, 3), GREEDY))
    assert [shape[0] for shape in calls.shapes] == [10] * 9 + [5]


# ---- generators and modes ------------------------------------------------------------------------


def test_a_generator_fixes_the_tokens_and_the_global_one_is_left_alone() -> None:
    model, prompts, config = small_model(V), _prompts(2, 5), SamplingConfig(max_tokens=12)
    before = torch.get_rng_state()
    first, again, other = (
        _drawn(model, prompts, config, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_one_serves() -> None:
    model, prompts, config = small_model(V), _prompts(2, 5), SamplingConfig(max_tokens=12)
    torch.manual_seed(5)
    first = _drawn(model, prompts, config)
    assert _drawn(model, prompts, config) != first
    torch.manual_seed(5)
    assert _drawn(model, prompts, config) == first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs two devices; there is no GPU")
def test_the_generator_may_be_on_another_device() -> None:
    model, prompts, config = small_model(V), _prompts(2, 5), SamplingConfig(max_tokens=12)
    here = _drawn(model, prompts, config, generator=torch.Generator().manual_seed(1))
    model = model.cuda()
    assert _drawn(model, prompts, config, generator=torch.Generator().manual_seed(1)) == here
    _drawn(model, [prompt.cuda() for prompt in prompts], config, generator=torch.Generator("cuda"))


def test_dropout_is_off_and_the_callers_modes_stay() -> None:
    model = small_model(V, dropout=0.9)
    prompts = _prompts(3, 1)
    expected = _drawn(model, prompts, GREEDY)
    model.train()
    rows = []
    for tokens in generate(model, prompts, GREEDY):
        rows.append(tokens)
        assert model.training  # between tokens too
        assert torch.is_grad_enabled()
    assert torch.stack(rows).T.tolist() == expected
    list(generate(model.eval(), prompts, GREEDY))
    assert not model.training


def test_what_is_yielded_belongs_to_the_caller() -> None:
    model, prompts = small_model(V), _prompts(3, 1)
    rows = []
    for tokens in generate(model, prompts, GREEDY):
        rows.append(tokens.clone())
        tokens.fill_(0)
    assert torch.stack(rows).T.tolist() == _drawn(model, prompts, GREEDY)


# ---- prompts -------------------------------------------------------------------------------------


def test_prompts_of_any_layout_and_integer_type() -> None:
    model, grid = small_model(V), torch.randint(V, (5, 3))
    expected = _drawn(model, [column.contiguous() for column in grid.T], GREEDY)
    assert _drawn(model, list(grid.T), GREEDY) == expected
    assert _drawn(model, list(grid.T.to(torch.int32)), GREEDY) == expected
    assert _drawn(model, list(grid.T.to(torch.uint8)), GREEDY) == expected


def test_equal_prompts_need_no_lengths_from_the_layers() -> None:
    model = LanguageModel(LanguageModelConfig(V, architecture="gru"), backend="torch")
    assert len(_drawn(model, _prompts(3, 3), GREEDY)) == 2


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([], "at least one prompt, got none"),
        ([torch.tensor([1]), torch.tensor([], dtype=torch.int64)], r"at least one token, got shape \[0\]"),
        (torch.tensor([1, 2]), r"vector of at least one token, got shape \[\]"),
        ([torch.tensor([[1]])], r"got shape \[1, 1\]"),
        ([torch.tensor([1.0])], "prompts must be a vector of integers, got torch.float32"),
        ([torch.tensor([1, 7])], r"prompts must lie in \[0, 7\), got 1 to 7"),
        ([torch.tensor([-1])], r"prompts must lie in \[0, 7\)"),
    ],
)
def test_bad_prompts_are_refused_at_once(prompts: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        generate(small_model(V), prompts, GREEDY)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"suppress_ids": [7]}, r"suppressed ids must lie in \[0, 7\), got 7 to 7"),
        ({"eos_id": 7}, r"eos_id must lie in \[0, 7\)"),
        ({"eos_id": None}, "stop_at_eos needs an end-of-sentence token"),
    ],
)
def test_bad_ids_are_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        generate(small_model(V), _prompts(1), SamplingConfig(stop_at_eos=True), **{"eos_id": 1, **options})


def test_nothing_left_to_draw() -> None:
    with pytest.raises(ValueError, match="no token is left to draw"):
        next(generate(small_model(V), _prompts(1), GREEDY, suppress_ids=range(V)))


def test_a_damaged_model() -> None:
    model = constant_model(torch.tensor([0.0, math.nan]))
    for config in (GREEDY, SamplingConfig()):
        with pytest.raises(ValueError, match=r"logits are NaN.*did training diverge\?"):
            next(generate(model, [torch.tensor([0])], config))
