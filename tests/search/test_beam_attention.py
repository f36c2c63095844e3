"""The attention that beam search returns, and when a model is asked for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.search import SearchConfig, beam_search
from tests.search.decoders import SourceDecoder, sources

BOS = [torch.tensor([1])]


def test_attention_is_that_of_each_token() -> None:
    model = SourceDecoder(5, seed=2)
    source, lengths = sources([1, 2, 3], [4, 4])
    config = SearchConfig(beam_width=3, max_tokens=4)
    found = beam_search(
        model,
        BOS * 2,
        config,
        eos_id=None,
        state=model.start(source),
        source_lengths=lengths,
        return_attention=True,
    )
    for row, [best] in enumerate(found):
        read = torch.tensor([[1, *best.tokens[:-1]]])
        state = model.start(source[row : row + 1])
        whole: Tensor | None = model.step(read, state, need_weights=True).attention
        assert whole is not None
        assert best.attention is not None
        torch.testing.assert_close(best.attention, whole[0, :, : lengths[row]])


@pytest.mark.parametrize(
    ("asked", "penalty", "needed"), [(False, 0.0, False), (False, 0.5, True), (True, 0.0, True)]
)
def test_a_model_tells_its_attention_to_who_needs_it(asked: bool, penalty: float, needed: bool) -> None:
    model, told = SourceDecoder(5, seed=2), list[bool]()
    source, lengths = sources([1, 2, 3], [4, 4])
    step = model.step

    def watched(tokens: Tensor, state: Any, **options: Any) -> Any:
        told.append(options["need_weights"])
        return step(tokens, state, **options)

    model.step = watched  # type: ignore[method-assign]
    config = SearchConfig(beam_width=3, max_tokens=4, coverage_penalty=penalty)
    options: dict[str, Any] = {"state": model.start(source), "source_lengths": lengths, "eos_id": None}
    found = beam_search(model, BOS * 2, config, **options, return_attention=asked)
    assert len(told) > 1
    assert set(told) == {needed}
    assert all((best.attention is not None) == asked for [best] in found)
