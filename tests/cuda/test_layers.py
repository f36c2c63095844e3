"""The layers on the CUDA kernels are torch's: the same parameters, calls, results and gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import pyrnn
from pyrnn.ops import route
from tests.cuda.cases import captured_in_a_graph
from tests.nn.pairs import LAYERS, assert_same, gradients, pair, random_state

T, B, WIDTH, H = 5, 4, 3, 18
LENGTHS = torch.tensor([3, 5, 1, 4])

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="what CUDA alone has; there is no GPU")


def random_input(device: str, *, dtype: torch.dtype = torch.float64, batch_first: bool = False) -> Tensor:
    shape = (B, T, WIDTH) if batch_first else (T, B, WIDTH)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    return values.to(device).requires_grad_()


def pair_on(device: str, name: str, **options: Any) -> tuple[Any, Any]:
    """torch's layer and ours on the device, with one state_dict."""
    theirs, ours = (module.to(device) for module in pair(name, WIDTH, H, **options))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def call(layer: Any, layout: str, x: Tensor, hx: Any) -> Any:
    """The layer's results; with lengths by our argument, or by what torch has in its place."""
    if layout in ("padded", "batch_first"):
        return layer(x, hx)
    if layout == "lengths" and isinstance(layer, pyrnn.RNN | pyrnn.GRU | pyrnn.LSTM):
        return layer(x, hx, lengths=LENGTHS.to(x.device))
    output, state = layer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), hx)
    return (output if layout == "packed" else pad_packed_sequence(output)[0]), state


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("layout", ["padded", "batch_first", "lengths", "packed"])
@pytest.mark.parametrize("name", LAYERS)
def test_same_as_torch(name: str, layout: str, options: dict[str, Any], device: str) -> None:
    batch_first = layout == "batch_first"
    theirs, ours = pair_on(device, name, batch_first=batch_first, **options)
    x, hx = random_input(device, batch_first=batch_first), random_state(theirs, B)
    assert route(x).reason == "CUDA kernels for torch.float64"
    found, expected = call(ours, layout, x, hx), call(theirs, layout, x, hx)
    assert_same(found, expected)
    torch.testing.assert_close(
        gradients(ours, found, x), gradients(theirs, expected, x), rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("name", LAYERS)
def test_accelerate(name: str, device: str) -> None:
    theirs, _ = pair_on(device, name, num_layers=2, bidirectional=True)
    model = nn.ModuleDict({"rnn": copy.deepcopy(theirs)})
    (report,) = pyrnn.accelerate(model).swapped
    assert report.reason == "CUDA kernels for torch.float64"
    ours: Any = model["rnn"]
    assert type(ours) is getattr(pyrnn, name)
    x = random_input(device)
    found, expected = ours(x), theirs(x)
    assert_same(found, expected)
    torch.testing.assert_close(
        gradients(ours, found, x), gradients(theirs, expected, x), rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("name", LAYERS)
def test_autocast(name: str, device: str) -> None:
    """Results of autocast's dtype, gradients of the parameters' own."""
    _, ours = pair_on(device, name, bidirectional=True, dtype=torch.float32)
    x = random_input(device, dtype=torch.float32)
    exact = ours(x)[0]
    with torch.autocast(device, dtype=torch.bfloat16):
        output, _ = ours(x)
    assert output.dtype is torch.bfloat16
    torch.testing.assert_close(output.float(), exact, rtol=0.05, atol=0.05)
    found, expected = gradients(ours, output.float(), x), gradients(ours, exact, x)
    assert {grad.dtype for grad in found} == {torch.float32}
    for ours_grad, exact_grad in zip(found, expected, strict=True):
        assert (ours_grad - exact_grad).norm() <= 0.05 * exact_grad.norm()


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_mixed_precision_training_step(name: str, dtype: torch.dtype) -> None:
    theirs, ours = pair_on("cuda", name, num_layers=2, dtype=torch.float32)
    x = random_input("cuda", dtype=torch.float32).detach()
    steps = []
    for layer in (theirs, ours):
        before = [parameter.detach().clone() for parameter in layer.parameters()]
        optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
        scaler = torch.amp.GradScaler("cuda", init_scale=1024.0)
        with torch.autocast("cuda", dtype=dtype):
            output, _ = layer(x)
            loss = output.float().square().mean()
        assert output.dtype is dtype
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 1024  # every gradient was finite
        steps.append([now - old for now, old in zip(layer.parameters(), before, strict=True)])
    for found, expected in zip(steps[1], steps[0], strict=True):
        assert expected.any()
        assert (found - expected).norm() <= 0.1 * expected.norm()


@needs_gpu
@pytest.mark.parametrize("name", LAYERS)
def test_training_is_captured_in_a_graph(name: str) -> None:
    _, ours = pair_on("cuda", name, num_layers=2, bidirectional=True, dtype=torch.float32)
    x, lengths = random_input("cuda", dtype=torch.float32), LENGTHS.cuda()
    leaves = [x, *ours.parameters()]

    def step() -> list[Tensor]:
        output, _ = ours(x, lengths=lengths)
        return [output, *torch.autograd.grad(output.square().sum(), leaves)]

    graph, captured = captured_in_a_graph(step)
    with torch.no_grad():
        x.neg_()
        lengths.copy_(lengths.flip(0))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))
