"""Who computes a call, and why."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from pyrnn import _native
from pyrnn.ops import route


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_cpu_kernels_compute_these(dtype: torch.dtype) -> None:
    assert route(torch.zeros(1, dtype=dtype)) == ("native", f"CPU kernels for {dtype}")


def test_other_dtypes_take_the_reference() -> None:
    path, reason = route(torch.zeros(1, dtype=torch.float16))
    assert path == "reference"
    assert "not in torch.float16" in reason


def test_autocast_decides_the_dtype() -> None:
    with torch.autocast("cpu", dtype=torch.float16):
        assert route(torch.zeros(1)).path == "reference"
        assert route(torch.zeros(1, dtype=torch.float64)).path == "native"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "bfloat16" in route(torch.zeros(1)).reason


def test_forward_mode_takes_the_reference() -> None:
    with forward_ad.dual_level():
        assert "forward-mode" in route(torch.zeros(1)).reason
    assert route(torch.zeros(1)).path == "native"


def test_devices_without_kernels_take_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "this build of pyrnn has none")
    fake = torch._subclasses.FakeTensorMode()
    with fake:
        path, reason = route(torch.zeros(1, device="cuda"))
    assert path == "reference"
    assert "'cuda'" in reason
