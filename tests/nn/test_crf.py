"""The layer of a conditional random field: probabilities of paths, constraints, spans in practice."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from pyrnn.metrics import allowed_tags
from pyrnn.nn import CRF

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("constrained", [False, True])
def test_the_probabilities_of_all_paths_sum_to_one(*, batch_first: bool, constrained: bool) -> None:
    allowed = allowed_tags(TAGS, "bio") if constrained else None
    crf = CRF(5, allowed=allowed, batch_first=batch_first, dtype=torch.float64)
    paths = torch.tensor(list(itertools.product(range(5), repeat=3))).T
    emissions = torch.randn(3, 1, 5, dtype=torch.float64).expand(3, paths.shape[1], 5)
    given = (emissions.transpose(0, 1), paths.T) if batch_first else (emissions, paths)
    chances = crf(*given, reduction="none").neg().exp()
    torch.testing.assert_close(chances.sum(), torch.tensor(1.0, dtype=torch.float64))
    best = crf.decode(given[0])
    assert torch.equal(best[0] if batch_first else best[:, 0], paths[:, chances.argmax()])
    pairs = list(itertools.pairwise(paths))
    if constrained:
        assert allowed is not None
        fits = allowed[1][paths[0]] & torch.stack([allowed[0][a, b] for a, b in pairs]).all(0)
        assert torch.equal(chances > 0, fits)


def test_lengths_are_sequences_of_their_own() -> None:
    crf, emissions, tags = CRF(4), torch.randn(6, 3, 4), torch.randint(4, (6, 3))
    lengths = [6, 2, 0]
    together = crf(emissions, tags, lengths=lengths, reduction="none")
    for row, length in enumerate(lengths):
        part = slice(row, row + 1)
        alone = crf(emissions[:length, part], tags[:length, part], reduction="none")
        torch.testing.assert_close(together[part], alone)
    torch.testing.assert_close(crf(emissions, tags, lengths=lengths), together.mean())
    torch.testing.assert_close(crf(emissions, tags, lengths=lengths, reduction="sum"), together.sum())


def test_it_learns_a_rule_that_no_emission_tells() -> None:
    """Tags alternate; the emissions tell only the first one."""
    torch.manual_seed(0)
    crf = CRF(2)
    optimizer = torch.optim.Adam(crf.parameters(), 0.1)
    first = torch.randint(2, (50,))
    tags = (first + torch.arange(7).unsqueeze(1)) % 2
    emissions = torch.zeros(7, 50, 2)
    emissions[0] = 5 * torch.nn.functional.one_hot(first, 2).float()
    for _ in range(60):
        optimizer.zero_grad()
        crf(emissions, tags).backward()
        optimizer.step()
    assert torch.equal(crf.decode(emissions), tags)


def test_a_scope_of_autocast_and_a_state_dict() -> None:
    crf = CRF(5, allowed=allowed_tags(TAGS, "bio"))
    assert set(crf.state_dict()) == {"transitions", "start", "end"}
    emissions, tags = torch.randn(4, 2, 5), torch.zeros(4, 2, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        loss = crf(emissions, tags)
        assert crf(emissions.bfloat16(), tags).dtype is torch.float32
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, crf(emissions, tags))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_tags": 0}, ValueError, "num_tags must be at least 1, got 0"),
        ({"num_tags": 2.5}, TypeError, "num_tags should be of type int"),
        ({"num_tags": 4, "allowed": allowed_tags(TAGS, "bio")}, ValueError, r"shape \[4, 4\], got \[5, 5\]"),
        ({"num_tags": 1, "allowed": (torch.ones(1, 1),) * 3}, TypeError, "must be bool, got torch.float32"),
    ],
)
def test_layers_that_cannot_be(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        CRF(**arguments)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"tags": torch.zeros(3, 2)}, TypeError, "tags must be int64, got torch.float32"),
        ({"tags": torch.zeros(2, 2).long()}, ValueError, r"tags must have the shape \[3, 2\]"),
        ({"tags": torch.full((3, 2), 4)}, ValueError, r"tags must lie in \[0, 4\), got 4 to 4"),
        ({"tags": torch.zeros(3).long()}, ValueError, r"tags must have shape \[T, B\], got \[3\]"),
        ({"emissions": torch.zeros(3, 2)}, ValueError, r"emissions must have shape \[T, B, C\], got"),
        ({"reduction": "max"}, ValueError, "reduction must be 'none', 'sum' or 'mean', got 'max'"),
        ({"lengths": [4, 1]}, ValueError, "lengths must lie in"),
        ({"emissions": torch.zeros(3, 2, 5)}, ValueError, r"transitions must have shape .* = \[5, 5\]"),
    ],
)
def test_calls_that_cannot_be(change: dict[str, Any], error: type[Exception], words: str) -> None:
    given = {"emissions": torch.zeros(3, 2, 4), "tags": torch.zeros(3, 2, dtype=torch.int64), **change}
    with pytest.raises(error, match=words):
        CRF(4)(given.pop("emissions"), given.pop("tags"), **given)
