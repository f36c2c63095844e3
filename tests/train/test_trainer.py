"""What a step computes, whatever the task: parts, averages, groups, precision; and a state that is whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from pyrnn.metrics import Perplexity
from pyrnn.models import Pretrained
from pyrnn.train import Batches, GradientTrainer, Loss, Objective, Run, Task, TrainConfig, fit
from pyrnn.train.checkpoint import Counters, restore, write_checkpoint
from pyrnn.train.task import Batch, Split, epoch_of


@dataclass(frozen=True)
class NetConfig:
    """Sizes of `Net`."""

    width: int = 6


class Net(Pretrained):
    """Batch normalisation, whose statistics are buffers, one an integer; and a buffer that is not saved."""

    model_type = "net"
    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(3, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.last = nn.Linear(config.width, 1)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    def forward(self, input: Tensor) -> Tensor:
        """[B, 3] to [B, 1]."""
        self.calls += 1
        return self.last(self.norm(self.first(input)).tanh())


class Numbers:
    """Batches of random numbers that follow from the step."""

    def __init__(self, batch_size: int, first: int = 0, stride: int = 1, length: int = 4) -> None:
        self.whole, self.first, self.stride, self.length = batch_size, first, stride, length
        self.batch_size = batch_size // stride

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        drawn = torch.randn(self.whole, 4, generator=torch.Generator().manual_seed(step))
        own = drawn[self.first :: self.stride]
        return {"x": own[:, :3], "y": own[:, 3:] * (own[:, :1] > -1)}

    def shard(self, rank: int, world: int) -> Numbers:
        return Numbers(self.whole, self.first + rank * self.stride, self.stride * world, self.length)


class Regression(Task):
    """Least squares; a target of zero is not counted."""

    name, summary, unit = "regression", "", "numbers"
    objective = Objective("loss", "min")

    def prepare(self, job: Any, folder: Path) -> dict[str, int]:
        return {}

    def build(self, job: Any) -> Net:
        return Net(NetConfig())

    def batches(self, job: Any, folder: Path, split: Split) -> Batches:
        return cast(Batches, Numbers(8))

    def weight(self, batch: Batch) -> int:
        return int((batch["y"] != 0).sum())

    def loss(self, model: nn.Module, batch: Batch, carried: object, config: TrainConfig) -> Loss:
        errors = (model(batch["x"]).float() - batch["y"]) ** 2
        return Loss((errors * (batch["y"] != 0)).sum())

    def evaluate(self, model: nn.Module, batches: Batches) -> Perplexity:
        scores = Perplexity()
        for batch in epoch_of(batches):
            scores.update(self.loss(model, batch, None, TrainConfig()).sum, self.weight(batch))
        return scores

    def load(self, folder: Path, job: Any, **options: Any) -> Run:
        raise NotImplementedError

    def read(self, run: Run, path: str | Path) -> Batches:
        raise NotImplementedError


def _trainer(model: nn.Module | None = None, *, batch_size: int = 8, **settings: Any) -> GradientTrainer:
    torch.manual_seed(0)
    fresh = Net(NetConfig())
    recipe = {"epochs": 3, "learning_rate": 0.01, "warmup_steps": 2, **settings}
    return GradientTrainer(
        Regression(), model or fresh, cast(Batches, Numbers(batch_size)), TrainConfig(**recipe)
    )


def _parameters(trainer: GradientTrainer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def _largest_difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


# ---- parts of a step -----------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(parts: int) -> None:
    """Also where the parts weigh differently: the sums are divided once."""
    whole, accumulated = _trainer(), _trainer(accumulate=parts)
    for trainer in (whole, accumulated):
        trainer.model.get_submodule("norm").eval()  # the statistics of a part are not those of the whole
        trainer.model.train = lambda mode=True, m=trainer.model: m  # type: ignore[method-assign]
    for _ in range(5):
        expected, result = whole.step(), accumulated.step()
        assert result.weight == expected.weight
        assert result.loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
        assert result.grad_norm is not None
        assert expected.grad_norm is not None
        assert result.grad_norm.item() == pytest.approx(expected.grad_norm.item(), rel=1e-5)
    assert _largest_difference(_parameters(whole), _parameters(accumulated)) < 1e-5


def test_parts_that_do_not_divide_the_batch_are_refused() -> None:
    from pyrnn.tasks import make_job
    from pyrnn.train import train

    with pytest.raises(ValueError, match="a batch of 32 cannot be shared evenly by 5"):
        train(make_job("language-model", {"accumulate": 5}), "never-made")


# ---- averages of the weights ---------------------------------------------------------------------


def test_the_moving_average_is_what_is_evaluated_and_the_weights_go_on_without_it() -> None:
    trainer, plain = _trainer(ema_decay=0.8), _trainer()
    average = _parameters(trainer)
    for _ in range(6):
        trainer.step()
        plain.step()
        for name, value in _parameters(trainer).items():
            average[name] = 0.8 * average[name] + 0.2 * value
    assert _largest_difference(_parameters(trainer), _parameters(plain)) == 0
    with trainer.weights() as model:
        inside = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert _largest_difference(inside, average) < 1e-6
    assert _largest_difference(_parameters(trainer), _parameters(plain)) == 0
    assert trainer.evaluate(cast(Batches, Numbers(8))) != plain.evaluate(cast(Batches, Numbers(8)))


def test_the_mean_of_the_last_epochs_is_kept(tmp_path: Path) -> None:
    trainer = _trainer(average_epochs=2)
    ends = []
    for _ in range(3):
        for _ in range(4):
            trainer.step()
        trainer.end_epoch()
        ends.append(_parameters(trainer))
    with trainer.weights() as model:
        inside = {name: p.detach().clone() for name, p in model.named_parameters()}
    expected = {name: (ends[1][name] + ends[2][name]) / 2 for name in ends[0]}
    assert _largest_difference(inside, expected) < 1e-6


# ---- what is updated -----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_biases_and_norms_do_not_decay_where_only_matrices_do(optimizer: str) -> None:
    def moved(**settings: Any) -> dict[str, Tensor]:
        trainer = _trainer(optimizer=optimizer, **settings)
        trainer.step()
        return _parameters(trainer)

    free, all_of_them = moved(weight_decay=0.0), moved(weight_decay=0.5)
    matrices = moved(weight_decay=0.5, decayed="matrices")
    for name, value in matrices.items():
        if name.startswith("unused"):
            continue
        assert value.equal((all_of_them if value.dim() > 1 else free)[name]), name
        if name != "norm.bias":  # it starts at zero, which decays to zero
            assert not all_of_them[name].equal(free[name]), name


def test_a_frozen_parameter_stays_and_its_run_is_resumed(tmp_path: Path) -> None:
    def frozen() -> GradientTrainer:
        torch.manual_seed(0)
        model = Net(NetConfig())
        model.first.weight.requires_grad_(False)
        return _trainer(model)

    trainer = frozen()
    before = trainer.model.get_parameter("first.weight").clone()
    _check_resume(trainer, frozen(), tmp_path)
    assert trainer.model.get_parameter("first.weight").equal(before)


def test_nothing_to_train_is_refused() -> None:
    model = Net(NetConfig()).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the model requires a gradient"):
        _trainer(model)


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    trainer = _trainer()
    trainer.step()
    before, state = _parameters(trainer), copy.deepcopy(trainer.optimizer.state_dict())
    hook = trainer.model.get_parameter("last.weight").register_hook(lambda g: g * torch.nan)
    grad_norm = trainer.step().grad_norm
    assert grad_norm is not None
    assert not grad_norm.isfinite()
    assert _largest_difference(_parameters(trainer), before) == 0
    after = trainer.optimizer.state_dict()
    for number, values in state["state"].items():
        assert all(torch.equal(values[key], after["state"][number][key]) for key in values)
    hook.remove()
    trainer.step()
    assert _largest_difference(_parameters(trainer), before) > 0


def test_float16_scales_its_loss_and_leaves_out_steps_that_overflow() -> None:
    exact, trainer = _trainer(epochs=50), _trainer(precision="float16", epochs=50)
    assert trainer.step().loss.item() == pytest.approx(exact.step().loss.item(), rel=1e-2)
    for _ in range(20):  # the scale starts high, and falls until gradients are finite
        trainer.step()
    scale, steps_since = trainer.state_dict()["scaler"].tolist()
    assert steps_since > 5
    before = _parameters(trainer)
    hook = trainer.model.get_parameter("last.weight").register_hook(lambda g: g * torch.inf)
    trainer.step()
    hook.remove()
    assert _largest_difference(_parameters(trainer), before) == 0
    assert trainer.state_dict()["scaler"].tolist() == [scale / 2, 0]


# ---- the state -----------------------------------------------------------------------------------


def _check_resume(trainer: GradientTrainer, fresh: GradientTrainer, folder: Path) -> None:
    """A fresh trainer goes on from the checkpoint of another one to the same bits."""
    for _ in range(6):
        trainer.step()
        if trainer.steps_done % 4 == 0:
            trainer.end_epoch()
    write_checkpoint(folder / "a", trainer.state_dict(), Counters(steps=6))
    for _ in range(2):
        trainer.step()
    trainer.end_epoch()
    expected = trainer.state_dict()
    restore(fresh, folder / "a", world=1)
    for _ in range(2):
        fresh.step()
    fresh.end_epoch()
    state = fresh.state_dict()
    assert state.keys() == expected.keys()
    assert [name for name in state if not torch.equal(state[name], expected[name])] == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ema_decay": 0.9},
        {"average_epochs": 2},
        {"precision": "float16", "decayed": "matrices"},
        {"optimizer": "sgd", "momentum": 0.9, "accumulate": 2},
        {"optimizer": "sgd"},
    ],
    ids=["plain", "moving", "epochs", "float16", "momentum", "sgd"],
)
def test_a_resumed_run_has_the_same_bits_buffers_included(settings: dict[str, Any], tmp_path: Path) -> None:
    """Batch normalisation's statistics, also a buffer that `state_dict` leaves out, and parameters without
    gradients.
    """
    _check_resume(_trainer(**settings), _trainer(**settings), tmp_path)


def test_a_model_with_buffers_is_saved_and_loaded(tmp_path: Path) -> None:
    trainer = _trainer()
    trainer.step()
    model = cast(Net, trainer.model)
    model.save_pretrained(tmp_path)
    again = Net.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    x = torch.randn(5, 3)
    assert torch.equal(again(x), model.eval()(x))


@pytest.mark.parametrize(("direction", "stops_after"), [("min", 8), ("max", 3)])
def test_patience_and_the_best_weights_follow_the_direction(
    direction: Any, stops_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Regression):
        objective = Objective("loss", direction)

    values = iter([5.0, 4.0, 3.0, 2.0, 1.9, 1.8, 1.7, 1.6])
    monkeypatch.setattr(GradientTrainer, "evaluate", lambda *_: {"loss": next(values)})
    config = TrainConfig(epochs=8, patience=2, learning_rate=0.01)
    data = cast(Batches, Numbers(8))
    history = fit(Other(), Net(NetConfig()), data, data, config, folder=tmp_path)
    assert len(history) == stops_after
    assert {epoch.objective.direction for epoch in history} == {direction}
