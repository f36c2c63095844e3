from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.data import StreamBatches, split_validation
from pyrnn.models import LanguageModel
from pyrnn.tasks import make_job
from pyrnn.tasks.language_model import LanguageModeling, training_batches, validation_batches
from pyrnn.text import Vocabulary
from pyrnn.train import EpochMetrics, GradientTrainer, Job, TrainConfig, fit

TEXT = "the quick brown fox jumps over the lazy dog. " * 30
VOCABULARY = Vocabulary.from_text(TEXT)
IDS = VOCABULARY.encode(TEXT)
SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 4,
    "bptt_steps": 16,
    "learning_rate": 0.02,
    "warmup_steps": 5,
    "validation_streams": 2,
    "validation_steps": 16,
    "embedding_size": 8,
    "hidden_size": 24,
    "dropout": 0.1,
}


def _job(**settings: Any) -> Job:
    return make_job("language-model", {**SETTINGS, **settings}).sized({"vocabulary_size": len(VOCABULARY)})


def _model(seed: int = 0, **settings: Any) -> LanguageModel:
    torch.manual_seed(seed)
    return LanguageModel(_job(**settings).model)


def _trainer(ids: Tensor = IDS, **settings: Any) -> GradientTrainer:
    job = _job(**settings)
    return GradientTrainer(job.task, _model(**settings), training_batches(ids, job), job.train)


def _fit(model: LanguageModel, ids: Tensor, held_out: Tensor, **settings: Any) -> list[EpochMetrics]:
    job = _job(**settings)
    batches, validation = training_batches(ids, job), validation_batches(held_out, job)
    return fit(job.task, model, batches, validation, job.train)


@torch.no_grad()
def evaluate(model: LanguageModel, batches: StreamBatches) -> dict[str, float]:
    return LanguageModeling().evaluate(model.eval(), batches).compute()


def _weights(model: LanguageModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("architecture", ["rnn", "gru", "lstm", "transformer"])
def test_loss_falls_on_a_small_text(architecture: str) -> None:
    model = _model(architecture=architecture)
    train, validation = split_validation(IDS)
    before = evaluate(model, StreamBatches(validation, batch_size=2, window=16))["loss"]
    history = _fit(model, train, validation)
    assert [metrics.epoch for metrics in history] == [1, 2, 3]
    assert history[-1].score < history[0].score < before
    assert history[-1].train_loss < 0.8 * history[0].train_loss
    assert history[-1].weight == len(train) - 1


def test_a_seed_fixes_the_run() -> None:
    train, validation = split_validation(IDS)
    runs = []
    for seed in (1, 1, 2):
        model = _model(seed)
        losses = [m.score for m in _fit(model, train, validation)]
        runs.append((losses, _weights(model)))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_the_state_is_carried_within_an_epoch_and_dropped_between() -> None:
    trainer = _trainer(IDS[:129], architecture="gru")
    seen = []
    trainer.model.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    left = []
    for _ in range(4):
        trainer.step()
        assert trainer.carried is not None
        left.append(trainer.carried[0])
    assert len(trainer.batches) == 2
    assert seen[0] is None
    assert seen[1] is left[0]
    assert seen[2] is None
    assert not left[0].requires_grad


@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
def test_windows_of_one_forward_pass_cover_the_same_loss_as_evaluation(architecture: str) -> None:
    model = _model(architecture=architecture, dropout=0.0)
    whole = StreamBatches(IDS, batch_size=1, window=len(IDS) - 1)
    pieces = StreamBatches(IDS, batch_size=1, window=7)
    assert evaluate(model, pieces)["loss"] == pytest.approx(evaluate(model, whole)["loss"], rel=1e-5)


def test_evaluation_counts_every_pair_once_and_is_repeatable() -> None:
    trainer = _trainer(dropout=0.5)
    trainer.model.train()
    batches = StreamBatches(IDS, batch_size=7, window=16)
    first, second = trainer.evaluate(batches), trainer.evaluate(batches)
    assert first == second
    assert first["tokens"] == len(IDS) - 1
    assert first["bits"] == pytest.approx(first["loss"] / 0.6931472)
    assert first["perplexity"] == pytest.approx(2 ** first["bits"])
    assert trainer.model.training


def test_the_gradient_is_clipped_to_its_norm() -> None:
    trainer = _trainer(epochs=1, clip_norm=1e-3)
    result = trainer.step()
    state = trainer.optimizer.state.values()  # the first moments are a tenth of the clipped gradient
    moments = torch.cat([own["exp_avg"].flatten() for own in state])
    assert result.grad_norm is not None
    assert result.grad_norm > 1e-3
    assert moments.norm().item() == pytest.approx(1e-4, rel=1e-2)


def test_the_learning_rate_follows_the_schedule() -> None:
    trainer = _trainer()
    rates, expected = [], []
    for _ in range(trainer.total_steps):
        expected.append(trainer.learning_rate)
        trainer.step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == expected
    assert rates[:5] == [0.02 * (step + 1) / 5 for step in range(5)]
    assert rates[-1] < 0.01 * max(rates)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_text_too_short_is_refused(part: str) -> None:
    train, validation = (IDS[:20], IDS) if part == "training" else (IDS, IDS[:1])
    with pytest.raises(ValueError, match=r"has (20|1) tokens, too few for one window"):
        _fit(_model(), train, validation)


def test_a_short_validation_text_counts_whole() -> None:
    model = _model(dropout=0.0)
    (metrics,) = _fit(model, IDS, IDS[:20], epochs=1)
    whole = evaluate(model, StreamBatches(IDS[:20], batch_size=1, window=19))
    assert metrics.score == pytest.approx(whole["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive and finite, got nan"),
        ({"clip_norm": 0.0}, "clip_norm must be positive and finite, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
        ({"decay": "step"}, "decay must be one of cosine, linear, constant, got 'step'"),
        ({"ema_decay": 0.9, "average_epochs": 2}, "choose one"),
    ],
)
def test_bad_recipes_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainConfig(**changes)
