from typing import Any

import pytest
import torch

from pyrnn.models import LanguageModel, LanguageModelConfig, detach_state, recurrent_class, select_state
from pyrnn.models.backbones import state_shapes
from pyrnn.models.state import state_tensors

CELLS = ("rnn", "gru", "lstm")
ARCHITECTURES = (*CELLS, "transformer", "feedforward")


def _model(backend: Any = "pyrnn", **changes: Any) -> LanguageModel:
    sizes: dict[str, Any] = {"vocabulary_size": 11, "embedding_size": 6, "hidden_size": 8, "dropout": 0.0}
    return LanguageModel(LanguageModelConfig(**{**sizes, **changes}), backend=backend)


def _ids(T: int, B: int) -> torch.Tensor:
    return torch.randint(0, 11, (T, B), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("architecture", "backend"),
    [
        *((architecture, "pyrnn") for architecture in ARCHITECTURES),
        *((architecture, "torch") for architecture in CELLS),
    ],
)
def test_carried_state_equals_one_long_pass(architecture: str, backend: str) -> None:
    model = _model(backend, architecture=architecture)
    ids = _ids(13, 3)
    whole, whole_state = model(ids)
    pieces, state = [], None
    for window in ids.split(5):
        logits, state = model(window, state)
        pieces.append(logits)
    assert state is not None
    torch.testing.assert_close(torch.cat(pieces), whole)
    torch.testing.assert_close(state, whole_state)


@pytest.mark.parametrize("architecture", CELLS)
def test_both_backends_agree_on_the_same_weights(architecture: str) -> None:
    ours, theirs = _model(architecture=architecture), _model("torch", architecture=architecture)
    ours.load_state_dict(theirs.state_dict())
    ids = _ids(7, 4)
    torch.testing.assert_close(ours(ids)[0], theirs(ids)[0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_detached_state_stops_the_gradient_and_keeps_the_values(architecture: str) -> None:
    _, state = _model(architecture=architecture)(_ids(3, 2))
    detached = detach_state(state)
    torch.testing.assert_close(detached, state)
    parts = detached if isinstance(detached, tuple) else (detached,)
    assert not any(part.requires_grad for part in parts)


def test_tied_weights_are_one_parameter() -> None:
    model = _model(embedding_size=8, tied=True)
    untied = _model(embedding_size=8)
    assert model.embedding is not None
    assert model.projection.weight is model.embedding.weight
    count = [sum(p.numel() for p in m.parameters()) for m in (untied, model)]
    assert count[0] - count[1] == 11 * 8


def test_a_fresh_model_predicts_nearly_uniformly() -> None:
    for options in (
        {},
        {"tied": True},
        {"architecture": "transformer"},
        {"architecture": "transformer", "tied": True},
    ):
        model = _model(embedding_size=8, **options)
        logits, _ = model(_ids(20, 4))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), _ids(20, 4).flatten())
        assert abs(loss.item() - torch.tensor(11.0).log().item()) < 0.3


def test_tied_weights_of_another_width_have_a_projection_before_them() -> None:
    model = _model(embedding_size=6, tied=True)
    assert model.embedding is not None
    assert model.projection.weight is model.embedding.weight
    assert model.bottleneck is not None
    assert model(_ids(3, 2))[0].shape == (3, 2, 11)


def test_one_hot_input_is_an_embedding_with_unit_vectors() -> None:
    torch.manual_seed(0)
    one_hot, embedded = _model(input="one-hot"), _model(embedding_size=11)
    assert one_hot.embedding is None
    assert embedded.embedding is not None
    embedded.load_state_dict({**one_hot.state_dict(), "embedding.weight": torch.eye(11)})
    torch.testing.assert_close(one_hot(_ids(5, 3))[0], embedded(_ids(5, 3))[0])


def test_one_hot_input_with_another_projection_in_place() -> None:
    """What is put in a part's place, as adapters and quantisation do, need not have a weight."""
    model: Any = _model(input="one-hot").double()
    ids, own = _ids(5, 3), model.projection
    expected = model(ids)[0]
    model.projection = torch.nn.Sequential(own)
    torch.testing.assert_close(model(ids)[0], expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lengths_leave_each_sequence_as_it_is_alone(architecture: str) -> None:
    model = _model(architecture=architecture, context=4)
    ids, lengths, further = _ids(7, 3), torch.tensor([7, 2, 5]), _ids(4, 3)
    logits, state = model(ids, lengths=lengths)
    after, _ = model(further, state)
    for b, length in enumerate(lengths.tolist()):
        alone, alone_state = model(ids[:length, b : b + 1])
        torch.testing.assert_close(logits[:length, b], alone[:, 0])
        torch.testing.assert_close(after[:, b], model(further[:, b : b + 1], alone_state)[0][:, 0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_state_can_be_selected_and_used_again(architecture: str) -> None:
    model = _model(architecture=architecture, context=4)
    ids, further = _ids(9, 3), _ids(2, 3)
    _, state = model(ids)
    first = model(further, state)[0]
    torch.testing.assert_close(model(further, state)[0], first)
    order = torch.tensor([2, 0, 0, 1])
    torch.testing.assert_close(model(further[:, order], select_state(state, order))[0], first[:, order])
    torch.testing.assert_close(model(further[:, :2], select_state(state, slice(2)))[0], first[:, :2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("steps", [1, 3, 4, 9])
def test_shapes_of_the_state_are_known_beforehand(architecture: str, steps: int) -> None:
    model = _model(architecture=architecture, context=4, num_heads=2)
    _, state = model(_ids(steps, 3))
    assert [tuple(part.shape) for part in state_tensors(state)] == state_shapes(model.config, 3, steps)


def test_locked_dropout_keeps_its_mask_over_time() -> None:
    torch.manual_seed(0)
    model = _model(dropout=0.5, input_dropout=0.5, locked_dropout=True, num_layers=1).train()
    seen: list[torch.Tensor] = []
    model.recurrent.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(torch.full((6, 4), 3))
    assert torch.equal(seen[0], seen[0][:1].expand_as(seen[0]))  # one token, one mask: one vector
    assert (seen[0] == 0).any()
    with pytest.raises(ValueError, match="torch's layers have no locked dropout"):
        _model("torch", locked_dropout=True)


def test_dropout_acts_in_training_only() -> None:
    model = _model(dropout=0.5)
    ids = _ids(5, 2)
    assert not torch.equal(model(ids)[0], model(ids)[0])
    model.eval()
    assert torch.equal(model(ids)[0], model(ids)[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        (
            {"architecture": "qrnn"},
            "architecture must be one of rnn, gru, lstm, transformer, feedforward, got 'qrnn'",
        ),
        ({"tied": True, "input": "one-hot"}, "tied weights need an embedding to tie to"),
        ({"input": "bytes"}, "input must be one of embedding, one-hot, got 'bytes'"),
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"context": 0}, "context must be at least 1, got 0"),
        (
            {"architecture": "transformer", "num_heads": 3},
            "hidden_size must be a multiple of num_heads, got 8 and 3",
        ),
        ({"architecture": "transformer", "input": "one-hot"}, "no weights for one-hot input"),
        ({"architecture": "transformer", "locked_dropout": True}, "a transformer has no locked dropout"),
    ],
)
def test_bad_configurations_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _model(**changes)


def test_the_vectors_of_a_transformer_are_as_wide_as_its_layers() -> None:
    for tied in (False, True):
        model = _model(architecture="transformer", embedding_size=6, hidden_size=8, tied=tied)
        assert model.embedding is not None
        assert model.embedding.weight.shape == (11, 8)
        assert model.bottleneck is None
        assert model(_ids(3, 2))[0].shape == (3, 2, 11)


def test_torch_has_no_transformer_with_a_state() -> None:
    with pytest.raises(ValueError, match="torch's transformer layers carry no state"):
        _model("torch", architecture="transformer")
    with pytest.raises(ValueError, match="a recurrent cell is one of rnn, gru, lstm, got 'transformer'"):
        recurrent_class("transformer")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="'pyrnn' or 'torch', got 'jax'"):
        recurrent_class("lstm", "jax")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"architecture": "gru"}, {"architecture": "lstm", "input": "one-hot"}, {"architecture": "transformer"}],
    ids=str,
)
def test_a_condition_is_read_before_the_first_token(changes: dict[str, Any]) -> None:
    model = _model(**changes, condition_size=3).double().eval()
    ids, classes, lengths = _ids(5, 4), torch.tensor([2, 0, 2, 1]), torch.tensor([5, 3, 0, 1])
    logits, state = model(ids, condition=classes, lengths=lengths)
    with torch.no_grad():
        steps = model.step(ids.T, model.start(classes), lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(steps.logits[row, :length], logits[:length, row])
        alone, _ = model(ids[:length, row : row + 1], condition=classes[row : row + 1])
        torch.testing.assert_close(alone[:, 0], logits[:length, row])
    features = torch.nn.functional.one_hot(classes, 3).double()
    torch.testing.assert_close(model(ids, condition=features, lengths=lengths)[1], state)
    assert not torch.allclose(model(ids, condition=classes.roll(1))[0][0, 0], logits[0, 0])
    weight = model.get_parameter("condition.weight")
    (gradient,) = torch.autograd.grad(logits[:5, 0].sum(), weight)
    assert gradient[2].abs().max() > 0
    assert not gradient[:2].any()


@pytest.mark.parametrize(
    ("size", "condition", "words"),
    [
        (3, None, "texts have a condition, and none was given"),
        (0, torch.tensor([1, 1]), "the model has no condition"),
        (3, torch.tensor([1]), r"features \[B, 3\]"),
        (3, torch.zeros(2, 4), r"got torch.float32 of shape \[2, 4\]"),
        (3, torch.tensor(1), "got torch.int64 of shape"),
    ],
)
def test_a_condition_that_does_not_fit_is_said(size: int, condition: Any, words: str) -> None:
    model = _model(condition_size=size)
    with pytest.raises(ValueError, match=words):
        model(_ids(3, 2), condition=condition)
    if condition is None or condition.dim() != 1 or size == 0:
        with pytest.raises(ValueError, match=words):
            model.start(condition)


def test_a_state_has_read_its_condition() -> None:
    model = _model(condition_size=3)
    _, state = model(_ids(3, 2), condition=torch.tensor([0, 2]))
    model(_ids(3, 2), state)
    with pytest.raises(ValueError, match="a state has read its condition"):
        model(_ids(3, 2), state, condition=torch.tensor([0, 2]))
