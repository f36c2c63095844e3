"""The classifier's sizes, poolings, and what it does not read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pyrnn.models import Classifier, ClassifierConfig
from pyrnn.models._pooling import AttentionPooling, last_step, max_step, mean_step

KINDS: list[dict[str, Any]] = [
    {"architecture": "average", "num_layers": 0},
    {"architecture": "average", "num_layers": 2},
    {"architecture": "rnn", "pooling": "mean"},
    {"architecture": "gru", "pooling": "last", "bidirectional": False},
    {"architecture": "lstm", "pooling": "last"},
    {"architecture": "lstm", "pooling": "attention"},
    {"architecture": "transformer", "pooling": "max"},
    {"architecture": "transformer", "pooling": "last"},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_what_is_beyond_a_length_is_not_read(kind: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = ClassifierConfig(9, **{"hidden_size": 8, "num_heads": 2, "num_classes": 3, **kind})
    model = Classifier(config).eval()
    ids, lengths = torch.randint(9, (7, 3)), torch.tensor([7, 4, 1])
    together = model(ids, lengths=lengths)
    assert together.shape == (3, 3)
    for row, length in enumerate(lengths.tolist()):
        alone = model(ids[:length, row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)
    empty = model(ids, lengths=torch.tensor([0, 4, 0]))
    assert empty.isfinite().all()
    torch.testing.assert_close(empty[0], empty[2])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_gradients_are_finite_and_reach_every_parameter(kind: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = ClassifierConfig(9, **{"hidden_size": 8, "num_heads": 2, "num_classes": 3, **kind})
    model = Classifier(config)
    model(torch.randint(9, (7, 3)), lengths=torch.tensor([7, 4, 0])).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_a_sequence_without_steps_has_no_part_in_gradients() -> None:
    pooling, states = AttentionPooling(4), torch.randn(5, 3, 4)
    states[2:, 0] = torch.nan  # beyond its length
    states.requires_grad_()
    pooling(states, torch.tensor([2, 0, 5])).square().sum().backward()
    grads = [states.grad, *(parameter.grad for parameter in pooling.parameters())]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_poolings_are_what_they_say() -> None:
    states, lengths = torch.randn(5, 3, 4, dtype=torch.float64), torch.tensor([5, 2, 0])
    for row, length in enumerate(lengths.tolist()):
        own = states[:length, row]
        expected = {
            "mean": own.mean(0) if length else torch.zeros(4).double(),
            "max": own.amax(0) if length else torch.zeros(4).double(),
            "last": torch.cat([own[-1, :2], own[0, 2:]]) if length else torch.zeros(4).double(),
        }
        torch.testing.assert_close(mean_step(states, lengths)[row], expected["mean"])
        torch.testing.assert_close(max_step(states, lengths)[row], expected["max"])
        torch.testing.assert_close(last_step(states, lengths, bidirectional=True)[row], expected["last"])
    one_way = last_step(states, lengths, bidirectional=False)
    torch.testing.assert_close(one_way[:2], torch.stack([states[4, 0], states[1, 1]]))
    pooling = AttentionPooling(4).double()
    weights = pooling.score(torch.tanh(pooling.hidden(states[:2, 1]))).softmax(0)
    torch.testing.assert_close(pooling(states, lengths)[1], (weights * states[:2, 1]).sum(0))
    assert not pooling(states, lengths)[2].any()


def test_the_last_output_is_the_state_in_which_layers_end() -> None:
    model = Classifier(ClassifierConfig(9, architecture="gru", hidden_size=4, num_classes=2)).eval()
    ids, lengths = torch.randint(9, (6, 3)), torch.tensor([2, 6, 5])
    recurrent = model.get_submodule("recurrent")
    _, h_n = recurrent(model.get_submodule("embedding")(ids), lengths=lengths)
    expected = model.projection(torch.cat([h_n[-2], h_n[-1]], 1))
    torch.testing.assert_close(model(ids, lengths=lengths), expected)


def test_numbers_go_through_layers_of_relu() -> None:
    config = ClassifierConfig(1, architecture="feedforward", num_layers=2, hidden_size=8, num_features=5)
    model, rows = Classifier(config).eval(), torch.randn(3, 5)
    first, second = model.layers
    expected = model.projection(second(first(rows).relu()).relu())
    torch.testing.assert_close(model(rows), expected)
    assert "embedding.weight" not in model.state_dict()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pooling": "sum"}, "pooling must be one of last, mean, max, attention, got 'sum'"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"architecture": "average", "num_layers": -1}, "num_layers must not be negative, got -1"),
        ({"architecture": "tree"}, "architecture must be one of average, rnn"),
    ],
)
def test_sizes_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClassifierConfig(9, **settings)
