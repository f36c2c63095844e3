"""Greedy search, whose tokens a kernel takes from the logits, against torch's operators."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.search import SamplingConfig, generate, sampling
from pyrnn.search.filtering import likeliest
from pyrnn.search.native import likeliest_tokens
from tests.search.decoders import HASHES, TableDecoder
from tests.search.models import constant_model

EOS, INF = 0, math.inf


@given(
    quarters=st.lists(
        st.lists(st.integers(-3, 3) | st.just(-INF), min_size=40, max_size=40), min_size=1, max_size=4
    ),
    V=st.integers(1, 40),
    banned=st.sets(st.integers(0, 39), max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_the_likeliest_token(
    quarters: list[list[float]], V: int, banned: set[int], dtype: torch.dtype
) -> None:
    logits = torch.tensor(quarters)[:, :V].to(dtype)
    ids = [i for i in banned if i < V]
    allowed = logits.index_fill(1, torch.tensor(ids, dtype=torch.int64), -INF)
    tokens = likeliest_tokens(logits, ids)
    if (allowed.amax(1) == -INF).any():
        assert tokens is None
        with pytest.raises(ValueError, match="no token is left to draw"):
            likeliest(allowed)
    else:
        assert tokens is not None
        assert tokens.tolist() == likeliest(allowed).tolist()
        assert tokens.tolist() == [row.index(max(row)) for row in allowed.tolist()]


def test_what_is_suppressed_may_be_nan() -> None:
    model = constant_model(torch.tensor([math.nan, 1.0, 2.0]))
    config = SamplingConfig(temperature=0, max_tokens=2)
    tokens = generate(model, [torch.tensor([1])], config, suppress_ids=[0])
    assert torch.cat(list(tokens)).tolist() == [2, 2]


def test_the_caller_may_write_into_the_tokens() -> None:
    model = TableDecoder(5)
    config = SamplingConfig(temperature=0, max_tokens=6)
    expected = torch.cat(list(generate(model, [torch.tensor([1])], config))).tolist()
    found = []
    for tokens in generate(model, [torch.tensor([1])], config):
        found += tokens.tolist()
        tokens.fill_(3)
    assert found == expected


def test_rows_that_end_by_their_limit_and_by_eos_end_the_iterator() -> None:
    """The second row may have more tokens, but has ended before the first one reaches its limit."""
    model = TableDecoder(4)
    with torch.no_grad():
        model.table.copy_(torch.tensor([-9.0, 0.0, 5.0, 0.0]).expand(HASHES, 4))
        model.table[3 + 1, EOS] = 9
    config = SamplingConfig(temperature=0, max_tokens=1, max_tokens_per_source=1, stop_at_eos=True)
    prompts = [torch.tensor([1]), torch.tensor([3])]
    tokens = list(generate(model, prompts, config, source_lengths=torch.tensor([2, 9]), eos_id=EOS))
    assert torch.stack(tokens, 1).tolist() == [[2, 2, 2, -1], [EOS, -1, -1, -1]]


def test_greedy_asks_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(sampling, "likeliest_tokens", lambda *a: calls.append(a) or likeliest_tokens(*a))
    list(generate(TableDecoder(5), [torch.tensor([1])], SamplingConfig(temperature=0, max_tokens=3)))
    assert len(calls) == 3
