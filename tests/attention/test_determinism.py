"""What does not change a result: running again, threads, what memory held before. And what dropout drops."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.reference.philox import attention_keep
from tests.attention.cases import DTYPES, on_threads, operands, same_bits
from tests.attention.checking import of_kernel, of_reference, run
from tests.helpers import run_forked

SECONDS = 120  # far more than any of this takes on a busy machine: running out of it is a hang

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True, "query_start": 60},
    "much": {
        "lengths": torch.tensor([131, 70]),
        "window": (70, 30),
        "softcap": 3.0,
        "dropout_p": 0.3,
        "seed": torch.tensor(11),
        "return_weights": "mean",
    },
}


def results(tensors: tuple[Tensor, ...], options: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, ...]:
    mask = torch.linspace(-1, 1, 131).to(dtype)
    return tuple(run(of_kernel, tensors, {**options, "attn_mask": mask}, dtype).values())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(("H", "K", "T"), [(2, 2, 70), (6, 2, 300)])
def test_the_bits_are_always_the_same(H: int, K: int, T: int, name: str, dtype: torch.dtype) -> None:
    tensors = operands(H=H, K=K, T=T, S=131, D=20, V=20, dtype=dtype)
    options = {**OPTIONS[name], "enable_gqa": True}
    with on_threads(1):
        alone = results(tensors, options, dtype)
    for threads in (1, 3):
        with on_threads(threads):
            assert same_bits(results(tensors, options, dtype), alone), threads


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_of_an_earlier_call_do_not_leak(dtype: torch.dtype) -> None:
    """Scratch memory is used again: no result may read what the last call left in it."""
    tensors = operands(T=70, S=131, D=19, V=17, dtype=dtype)
    spoilt = tuple(torch.full_like(t, torch.nan) for t in operands(T=99, S=131, D=40, V=40, dtype=dtype))
    with on_threads(1):
        for options in OPTIONS.values():
            first = results(tensors, options, dtype)
            results(spoilt, options, dtype)
            assert same_bits(results(tensors, options, dtype), first)
            assert all(t.isfinite().all() for t in first)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("p", [0.1, 0.5, 1 - 2**-20, 1.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dropout_drops_what_its_numbers_say(dtype: torch.dtype, p: float) -> None:
    q, k, v = operands(B=2, H=3, T=67, S=133, dtype=dtype)
    seed = torch.tensor(-(2**63) + 5)
    weights = of_kernel(q, k, v, dropout_p=p, seed=seed, return_weights="full")[1]
    kept = attention_keep(seed, p, (2, 3, 67, 133), q.device)
    assert torch.equal(weights != 0, kept)
    whole = of_kernel(q, k, v, return_weights="full")[1]
    if p <= 0.5:
        torch.testing.assert_close(weights, torch.where(kept, whole / (1 - p), 0.0))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_keeps_the_mean(p: float) -> None:
    q, k, v = operands(B=4, H=4, T=64, S=64, dtype=torch.float32)
    weights = of_kernel(q, k, v, dropout_p=p, return_weights="full")[1]
    assert (weights == 0).float().mean().item() == pytest.approx(p, abs=0.01)
    assert weights.sum(-1).mean().item() == pytest.approx(1.0, abs=0.01)


def _in_child(tensors: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    """No operator of torch that may enter a parallel region of its own: after a fork those hang too."""
    assert _native.num_threads() == 1
    found = of_kernel(*tensors)
    torch.testing.assert_close((*found, *torch.autograd.grad(found[0].sum(), tensors)), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_computes() -> None:
    """In the child a parallel region would wait for threads that do not exist."""
    tensors = tuple(t.requires_grad_() for t in operands(T=70, S=70, dtype=torch.float32))
    with on_threads(2):
        found = of_kernel(*tensors)  # wakes the threads that the child will not have
        expected = (found[0].detach(), *torch.autograd.grad(found[0].sum(), tensors))
        run_forked(_in_child, tensors, expected, seconds=SECONDS, keeps_threads=True)


def test_python_threads_attend_at_the_same_time() -> None:
    calls = [operands(T=65, S=65, D=n + 1) for n in range(8)]
    exact = [of_reference(*tensors) for tensors in calls]
    with on_threads(2), ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda tensors: of_kernel(*tensors), calls * 3, timeout=SECONDS))
    torch.testing.assert_close(found, exact * 3, rtol=1e-11, atol=1e-12)
