import io
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console

from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.text import StreamBatches, Vocabulary, split_validation
from pyrnn.train import JsonLinesReporter, TerminalReporter, TrainConfig, TruncatedBPTT, evaluate, fit

TEXT = "the quick brown fox jumps over the lazy dog. " * 30
VOCABULARY = Vocabulary.from_text(TEXT)
IDS = VOCABULARY.encode(TEXT)
CONFIG = TrainConfig(
    epochs=3,
    batch_size=4,
    window=16,
    learning_rate=0.02,
    warmup_steps=5,
    validation_streams=2,
    validation_window=16,
)


def _model(seed: int = 0, **changes: Any) -> LanguageModel:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_size": 24, "dropout": 0.1}
    return LanguageModel(LanguageModelConfig(len(VOCABULARY), **{**sizes, **changes}))


def _weights(model: LanguageModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "transformer"])
def test_loss_falls_on_a_small_text(cell: str) -> None:
    model = _model(cell=cell)
    train, validation = split_validation(IDS)
    before = evaluate(model, StreamBatches(validation, batch_size=2, window=16)).loss
    history = fit(model, train, validation, CONFIG)
    assert [metrics.epoch for metrics in history] == [1, 2, 3]
    assert history[-1].validation_loss < history[0].validation_loss < before
    assert history[-1].train_loss < 0.8 * history[0].train_loss
    assert history[-1].symbols == len(train) - 1


def test_a_seed_fixes_the_run() -> None:
    train, validation = split_validation(IDS)
    runs = []
    for seed in (1, 1, 2):
        model = _model(seed)
        losses = [m.validation_loss for m in fit(model, train, validation, CONFIG)]
        runs.append((losses, _weights(model)))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_the_state_is_carried_within_an_epoch_and_dropped_between() -> None:
    trainer = TruncatedBPTT(_model(cell="gru"), StreamBatches(IDS[:129], batch_size=4, window=16), CONFIG)
    seen = []
    trainer.model.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    left = []
    for _ in range(4):
        trainer.step()
        left.append(trainer.state)
    assert len(trainer.batches) == 2
    assert seen[0] is None
    assert seen[1] is left[0]
    assert seen[2] is None
    assert not left[0].requires_grad


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_windows_of_one_forward_pass_cover_the_same_loss_as_evaluation(cell: str) -> None:
    model = _model(cell=cell, dropout=0.0)
    whole = StreamBatches(IDS, batch_size=1, window=len(IDS) - 1)
    pieces = StreamBatches(IDS, batch_size=1, window=7)
    assert evaluate(model, pieces).loss == pytest.approx(evaluate(model, whole).loss, rel=1e-5)


def test_evaluation_counts_every_pair_once_and_is_repeatable() -> None:
    model = _model(dropout=0.5).train()
    batches = StreamBatches(IDS, batch_size=7, window=16)
    first, second = evaluate(model, batches), evaluate(model, batches)
    assert first == second
    assert first.symbols == len(IDS) - 1
    assert first.bits == pytest.approx(first.loss / 0.6931472)
    assert first.perplexity == pytest.approx(2**first.bits)
    assert model.training


def test_the_gradient_is_clipped_to_its_norm() -> None:
    config = TrainConfig(epochs=1, batch_size=4, window=16, clip_norm=1e-3)
    trainer = TruncatedBPTT(_model(), StreamBatches(IDS, batch_size=4, window=16), config)
    result = trainer.step()
    clipped = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    assert result.grad_norm > 1e-3
    assert clipped.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_the_learning_rate_follows_the_schedule() -> None:
    trainer = TruncatedBPTT(_model(), StreamBatches(IDS, batch_size=4, window=16), CONFIG)
    rates = []
    for _ in range(trainer.total_steps):
        trainer.step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == [trainer.schedule(step) for step in range(trainer.total_steps)]
    assert rates[-1] < 0.01 * max(rates)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_text_too_short_is_refused(part: str) -> None:
    train, validation = (IDS[:20], IDS) if part == "training" else (IDS, IDS[:1])
    with pytest.raises(ValueError, match=r"has (20|1) symbols, too few for one window"):
        fit(_model(), train, validation, CONFIG)


def test_a_short_validation_text_counts_whole() -> None:
    model = _model(dropout=0.0)
    (metrics,) = fit(model, IDS, IDS[:20], replace(CONFIG, epochs=1))
    whole = evaluate(model, StreamBatches(IDS[:20], batch_size=1, window=19))
    assert metrics.validation_loss == pytest.approx(whole.loss, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive and finite, got nan"),
        ({"clip_norm": 0.0}, "clip_norm must be positive and finite, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
        ({"decay": "step"}, "decay must be .* got 'step'"),
    ],
)
def test_bad_recipes_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainConfig(**changes)


def test_json_lines_name_every_epoch_and_some_steps() -> None:
    stream = io.StringIO()
    train, validation = split_validation(IDS)
    with JsonLinesReporter(stream, every=10) as reporter:
        history = fit(_model(), train, validation, CONFIG, reporter=reporter)
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row["validation_loss"] for row in rows if "epoch" in row] == [m.validation_loss for m in history]
    steps = [row for row in rows if "epoch" not in row]
    assert [row["step"] for row in steps] == list(range(10, steps[-1]["of"] + 1, 10))


def test_a_terminal_gets_one_line_an_epoch() -> None:
    stream = io.StringIO()
    train, validation = split_validation(IDS)
    with TerminalReporter(Console(file=stream, force_terminal=True, width=120)) as reporter:
        history = fit(_model(), train, validation, CONFIG, reporter=reporter)
    for metrics in history:
        assert f"validation {metrics.validation_loss:.4f} nats a symbol" in stream.getvalue()
