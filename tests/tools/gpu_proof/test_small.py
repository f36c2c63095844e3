"""The steps that the sanitizers watch, on the CPU: each runs, and has results and gradients to watch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.ops.attention import cuda
from pyrnn.ops.recurrent.cuda import recurrence
from tools.gpu_proof import small


@pytest.mark.parametrize("dtype", small.DTYPES, ids=str)
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("plain causal", 1 + 3),
        ("masked with dropout", 1 + 3),
        ("shared keys", 1 + 3),
        ("returned weights", 2 + 3),
        ("gradient of a mask", 1 + 4),
    ],
)
def test_every_step_of_attention_has_gradients(name: str, count: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    results = small.attend(name, dtype, "cpu")
    assert len(results) == count
    assert all(each.dtype is dtype and each.isfinite().all() and each.any() for each in results)


def test_each_step_asks_for_what_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    right: Any = small.scaled_dot_product_attention
    asked: dict[str, dict[str, Any]] = {}

    def noting(*tensors: Tensor, **options: Any) -> Any:
        asked[name] = {"T": tensors[0].shape[2], **options}
        return right(*tensors, **options)

    monkeypatch.setattr(small, "scaled_dot_product_attention", noting)
    for name in small.ATTENTION:
        small.attend(name, torch.float32, "cpu")
    assert asked["plain causal"]["is_causal"]
    assert asked["masked with dropout"]["attn_mask"].dtype is torch.bool
    assert asked["masked with dropout"]["dropout_p"] > 0
    assert asked["shared keys"]["T"] == 1
    assert asked["returned weights"]["return_weights"] == "full"
    assert asked["gradient of a mask"]["attn_mask"].requires_grad


@pytest.mark.parametrize("dtype", small.DTYPES, ids=str)
def test_the_step_of_dropout_drops(dtype: torch.dtype) -> None:
    out, gradient, of_residual = small.drop(dtype, "cpu")
    assert out.shape == gradient.shape == of_residual.shape
    assert 0 < (gradient == 0).sum() < gradient.numel() / 2


@pytest.mark.parametrize(("splits", "code"), [(4, 0), (1, 1)])
def test_all_steps_are_counted_and_shared_keys_are_a_must(
    splits: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[str] = []
    original = small.attention_and_dropout
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "")
    monkeypatch.setattr(recurrence, "forced_engine", "")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(small, "run", lambda cell, dtype: steps.append(cell))
    monkeypatch.setattr(small, "attention_and_dropout", lambda _: original("cpu"))
    monkeypatch.setattr(
        small, "operands", lambda shape, dtype, _, own=small.operands: own(shape, dtype, "cpu")
    )
    monkeypatch.setattr(cuda, "plan", lambda call: SimpleNamespace(splits=splits))
    assert small.main() == code
    assert len(steps) == 18
    assert "30 training steps\n" in capsys.readouterr().out
