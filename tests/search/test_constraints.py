"""Searches of outputs that must contain phrases, against all outputs there are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrnn.search import SearchConfig, beam_search
from pyrnn.search.phrases import contains
from tests.search.decoders import (
    HASHES,
    NORMS,
    Rules,
    SourceDecoder,
    TableDecoder,
    assert_same,
    every_output,
    hash_of,
    sources,
)
from tests.search.models import constant_model
from tests.search.test_phrases import fewest, phrases

EOS = 0
BOS = [torch.tensor([1])]


def _search_one(model: SourceDecoder, prefix: list[int], required: set[tuple[int, ...]], limit: int) -> None:
    state, config = model.start(torch.tensor([[1, 2]])), SearchConfig(max_tokens=limit)
    begin = [torch.tensor(prefix, dtype=torch.int64)]
    beam_search(model, BOS, config, eos_id=EOS, state=state, prefixes=begin, required=[list(required)])


@settings(max_examples=80)
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_prefixes_and_required_phrases(data: Any, seed: int) -> None:
    V, limit = 4, 4
    model = SourceDecoder(V, seed=seed)
    prefixes = data.draw(st.lists(st.lists(st.integers(1, V - 1), max_size=2), min_size=1, max_size=3))
    required = [data.draw(st.sets(phrases(V - 1, longest=3), max_size=3)) for _ in prefixes]
    for place, (prefix, ids) in enumerate(zip(prefixes, required, strict=True)):
        if len(prefix) + (lacking := fewest(prefix, ids, V)) > limit:
            with pytest.raises(
                ValueError, match=f"are {len(prefix) + lacking} tokens, and its output may have"
            ):
                _search_one(model, prefix, ids, limit)
            required[place] = set()
    source, lengths = sources(*[[n + 1, 2] for n in range(len(prefixes))])
    norm, alpha = data.draw(NORMS)
    config = SearchConfig(beam_width=V**limit, n_best=3, max_tokens=limit, length_norm=norm, alpha=alpha)
    options: dict[str, Any] = {
        "eos_id": EOS,
        "prefixes": [torch.tensor(prefix, dtype=torch.int64) for prefix in prefixes],
        "required": [list(ids) for ids in required],
        "state": model.start(source),
        "source_lengths": lengths,
        "return_attention": True,
    }
    prompts = BOS * len(prefixes)
    found = beam_search(model, prompts, config, **options)
    for row, prefix, ids, hypotheses in zip(source, prefixes, required, found, strict=True):
        rules = Rules(config, limit, EOS, tuple(prefix), frozenset(ids))
        assert_same(hypotheses, every_output(model, BOS[0], rules, row)[:3])
    narrow = SearchConfig(beam_width=data.draw(st.integers(1, 5)), max_tokens=limit)
    for prefix, ids, hypotheses in zip(
        prefixes, required, beam_search(model, prompts, narrow, **options), strict=True
    ):
        for hypothesis in hypotheses:  # whatever the width
            assert all(contains(hypothesis.tokens, phrase) for phrase in ids)
            assert list(hypothesis.tokens[: len(prefix)]) == prefix


def test_banks_find_what_is_required_where_it_is_likely() -> None:
    """Token 3 is likely after 2 alone, and 2 unlikely: without banks all places would go to others."""
    model = TableDecoder(5)
    with torch.no_grad():
        model.table.copy_(torch.tensor([0.0, 5.0, 0.0, -9.0, 5.0]).expand(HASHES, 5))
        model.table[hash_of([1, 2]), 3] = 9.0  # 1 is the prompt
    config = SearchConfig(beam_width=4, max_tokens=4)
    [[best]] = beam_search(model, BOS, config, eos_id=EOS, required=[[3]])
    [best_of_all] = every_output(model, BOS[0], Rules(config, 4, EOS, required=frozenset([(3,)])))[:1]
    assert best.tokens == best_of_all.tokens


def test_a_beam_narrower_than_the_banks_goes_for_what_is_required() -> None:
    config = SearchConfig(beam_width=1, max_tokens=4)
    model = constant_model(torch.tensor([0.0, 5.0, 0.0, -3.0]))
    [[best]] = beam_search(model, BOS, config, eos_id=EOS, required=[[3, 2]])
    assert best.tokens == (2, 3, 1, 1)


def test_phrases_are_written_into_one_another_where_there_is_no_room_otherwise() -> None:
    """3 is unlikely, and once it is enough where there is room for six tokens: 1 2 1 3 1 2."""
    model = constant_model(torch.tensor([0.0, 1.0, 2.0, -3.0]))
    required = [[(1, 2, 1, 3), (3, 1, 2), 2]]
    for width, room, expected in (
        (1, 5, (3, 1, 2, 1, 3)),
        (9, 5, (3, 1, 2, 1, 3)),
        (9, 6, (1, 2, 1, 3, 1, 2)),
    ):
        config = SearchConfig(beam_width=width, max_tokens=room)
        [[best]] = beam_search(model, BOS, config, eos_id=EOS, required=required)
        assert best.tokens == expected
