"""AdamW with clipping: torch's numbers and state, determinism, what is left to torch, refusals."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyrnn.optim import AdamW
from tests.helpers import assert_as_accurate

#: Around vectors and tasks; a scalar and nothing.
SHAPES = [(), (0,), (1,), (3, 5), (17, 33), (2**14 + 1,), (2, 2**14)]


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(dtype: torch.dtype, shapes: list[tuple[int, ...]] = SHAPES) -> list[nn.Parameter]:
    return [nn.Parameter(drawn(shape, n).to(dtype)) for n, shape in enumerate(shapes)]


def grads_of(step: int, like: list[nn.Parameter], rounded: torch.dtype) -> list[Tensor]:
    """Numbers that `rounded` can hold."""
    return [drawn(tuple(p.shape), 100 * step + n).to(rounded).to(p.dtype) for n, p in enumerate(like)]


def steps_of(
    cls: type[torch.optim.AdamW],
    dtype: torch.dtype,
    rounded: torch.dtype,
    *,
    clip: float | None = None,
    count: int = 5,
    **options: Any,
) -> list[Tensor]:
    """Parameters, first and second moments after some steps, of which the last has a third of the rate."""
    parameters = made(rounded)
    parameters = [nn.Parameter(p.detach().to(dtype)) for p in parameters]
    groups = [{"params": parameters[:4], "weight_decay": 0.3}, {"params": parameters[4:], "lr": 0.02}]
    if cls is AdamW:
        options["clip_norm"] = clip
    optimizer = cls(groups, lr=0.01, betas=(0.8, 0.95), weight_decay=0.0, **options)
    for step in range(count):
        for p, gradient in zip(parameters, grads_of(step, parameters, rounded), strict=True):
            p.grad = gradient
        if step == count - 1:
            optimizer.param_groups[1]["lr"] /= 3
        if clip is not None and cls is not AdamW:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
    states = [optimizer.state[p] for p in parameters]
    kinds = parameters, *([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq"))
    return [torch.cat([tensor.detach().flatten() for tensor in kind]) for kind in kinds]


@pytest.mark.parametrize("clip", [None, 1e-3, 1.0, 1e9])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_as_accurate_as_torch(isa: str, dtype: torch.dtype, maximize: bool, clip: float | None) -> None:
    options: dict[str, Any] = {"clip": clip, "maximize": maximize}
    exact = steps_of(torch.optim.AdamW, torch.float64, dtype, **options)
    theirs = steps_of(torch.optim.AdamW, dtype, dtype, fused=True, **options)
    found = steps_of(AdamW, dtype, dtype, **options)
    assert_as_accurate(found, theirs, exact, names=("parameters", "exp_avg", "exp_avg_sq"))


def test_float64_to_the_last_digits(isa: str) -> None:
    exact = steps_of(torch.optim.AdamW, torch.float64, torch.float64, clip=0.5)
    for a, b in zip(steps_of(AdamW, torch.float64, torch.float64, clip=0.5), exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_threads_change_no_bit() -> None:
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(steps_of(AdamW, torch.float32, torch.float32, clip=0.1))
    torch.set_num_threads(before)
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, results[0], strict=True))


def model_and(cls: type[torch.optim.AdamW], **options: Any) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    return model, cls(model.parameters(), lr=0.1, **options)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 1) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        model(drawn((4, 5), step).float()).square().sum().backward()
        optimizer.step()


def test_the_state_is_torch_s_and_is_read_by_either() -> None:
    ours, theirs = model_and(AdamW), model_and(torch.optim.AdamW)
    for model, optimizer in (ours, theirs):
        train(model, optimizer, 2)
    saved, of_torch = ours[1].state_dict(), theirs[1].state_dict()
    assert saved.keys() == of_torch.keys()
    assert saved["param_groups"][0].keys() == of_torch["param_groups"][0].keys()
    assert saved["state"][0].keys() == of_torch["state"][0].keys()
    torch.testing.assert_close(saved["state"], of_torch["state"])
    again = copy.deepcopy(of_torch)
    ours[1].load_state_dict(again)
    theirs[1].load_state_dict(copy.deepcopy(saved))
    ours[0].load_state_dict(theirs[0].state_dict())
    for model, optimizer in (ours, theirs):
        train(model, optimizer)
    torch.testing.assert_close(ours[0].state_dict(), theirs[0].state_dict())


def test_the_norm_is_told_and_gradients_stay() -> None:
    model, optimizer = model_and(AdamW, clip_norm=0.5)
    assert isinstance(optimizer, AdamW)
    model(torch.ones(4, 5)).square().sum().backward()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    optimizer.step()
    assert optimizer.grad_norm is not None
    torch.testing.assert_close(optimizer.grad_norm, torch.cat([g.flatten() for g in grads]).norm())
    for p, before in zip(model.parameters(), grads, strict=True):
        assert torch.equal(p.grad, before)  # type: ignore[arg-type]


def test_the_squares_of_large_gradients_do_not_overflow() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = AdamW([parameter], clip_norm=1.0)
    parameter.grad = torch.full((3,), 1e30)
    optimizer.step()
    torch.testing.assert_close(optimizer.grad_norm, torch.tensor(3**0.5 * 1e30))
    assert parameter.detach().isfinite().all()


@pytest.mark.parametrize("route", ["native", "reference"])
@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("number", [torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_changes_nothing(number: float, fused: bool | None, route: str) -> None:
    model, optimizer = model_and(AdamW, clip_norm=1.0, fused=fused, amsgrad=route == "reference")
    assert isinstance(optimizer, AdamW)
    train(model, optimizer)
    assert optimizer.route().path == route
    before = copy.deepcopy([*model.parameters()]), copy.deepcopy(optimizer.state_dict()["state"])
    for p in model.parameters():
        p.grad = torch.full_like(p, number)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before[0], model.parameters(), strict=True))
    torch.testing.assert_close(before[1], optimizer.state_dict()["state"], rtol=0, atol=0)
    train(model, optimizer)
    assert not torch.equal(before[0][0], next(model.parameters()))


@pytest.mark.parametrize("route", ["native", "reference"])
def test_a_scaler_leaves_scale_and_skipping_to_it(route: str) -> None:
    """torch.amp.GradScaler sets both for one step of a fused optimizer."""
    plain, scaled = (
        model_and(AdamW, clip_norm=0.3, fused=True, amsgrad=route == "reference") for _ in range(2)
    )
    for _ in range(2):
        train(*plain)
        model, optimizer = scaled
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        optimizer.zero_grad()
        x = drawn((4, 5), 0).float()
        scaler.scale(model(x).square().sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    torch.testing.assert_close(plain[0].state_dict(), scaled[0].state_dict())
    before = copy.deepcopy([*scaled[0].parameters()])
    scaled[1].found_inf = torch.ones(())  # type: ignore[attr-defined]
    scaled[1].step()
    assert all(torch.equal(a, b) for a, b in zip(before, scaled[0].parameters(), strict=True))


def test_closures_hooks_and_schedules_as_torch_has_them() -> None:
    model, optimizer = model_and(AdamW)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    told: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: told.append("before"))
    optimizer.register_step_post_hook(lambda *_: told.append("after"))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 5)).square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure) for _ in range(3)]
    assert all(isinstance(loss, Tensor) for loss in losses)
    assert told == ["before", "after"] * 3
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_hooks_are_called_once_where_torch_makes_the_step() -> None:
    model, optimizer = model_and(AdamW, amsgrad=True)
    model_and(torch.optim.AdamW)  # which puts the hooks' caller around torch's own step
    told: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: told.append("before"))
    train(model, optimizer)
    assert told == ["before"]


def test_copies_and_pickles_step_on() -> None:
    model, optimizer = model_and(AdamW, clip_norm=0.3)
    train(model, optimizer)
    assert isinstance(optimizer, AdamW)
    for again in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert again.clip_norm == 0.3
        assert again.grad_norm == optimizer.grad_norm
        again.step()


def _transposed() -> nn.Parameter:
    return nn.Parameter(torch.randn(3, 5).t())


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda: nn.Parameter(torch.randn(5, 3)), {"amsgrad": True}, "amsgrad"),
        (_transposed, {}, "not contiguous"),
        (lambda: nn.Parameter(torch.randn(5, 3, dtype=torch.float16)), {}, "no kernel for torch.float16"),
    ],
    ids=["amsgrad", "transposed", "float16"],
)
def test_what_has_no_kernel_is_torch_s(make: Any, options: dict[str, Any], words: str) -> None:
    results = []
    for cls in (AdamW, torch.optim.AdamW):
        torch.manual_seed(1)
        parameter = make()
        optimizer = cls([parameter], lr=0.1, **options)
        parameter.grad = torch.ones_like(parameter)
        if isinstance(optimizer, AdamW):
            path, reason = optimizer.route()
            assert path == "reference"
            assert words in reason
        optimizer.step()
        results.append(parameter.detach())
    assert torch.equal(*results)


def test_a_copy_that_does_not_lie_side_by_side_is_a_gradient_too() -> None:
    results = []
    for cls in (AdamW, torch.optim.AdamW):
        parameter = nn.Parameter(torch.ones(3, 5))
        optimizer = cls([parameter], lr=0.1)
        parameter.grad = drawn((5, 3), 0).float().t()
        optimizer.step()
        results.append(parameter.detach())
    torch.testing.assert_close(*results)


def test_autograd_sees_the_change() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = AdamW([parameter])
    kept = parameter.square().sum()
    parameter.grad = torch.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"clip_norm": 0.0}, ValueError, "clip_norm must be positive and finite, or None, got 0.0"),
        ({"clip_norm": float("nan")}, ValueError, "clip_norm must be positive"),
        ({"clip_norm": "small"}, TypeError, "clip_norm"),
        ({"differentiable": True}, ValueError, "use torch.optim.AdamW for that"),
        ({"lr": -1.0}, ValueError, "learning rate"),
    ],
    ids=str,
)
def test_refusals(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        AdamW([nn.Parameter(torch.ones(2))], **options)
