"""Torch's attention as a peer: what is its refusal and what is not, masks, and compilation."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._dynamo.config
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch.nn.functional import scaled_dot_product_attention

from tools.gpu_proof import attention
from tools.gpu_proof.attention import AttentionCase, measure, pyrnns, runner
from tools.gpu_proof.attention_peers import Refused, flex, refusals, torchs

CASE = AttentionCase(1, 2, 5, 6, 8)


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_events")
@pytest.mark.parametrize("name", ["cudnn", "efficient"])
def test_a_backend_that_the_machine_lacks_refuses(name: str) -> None:
    with pytest.raises(Refused, match="backend"):
        measure(CASE, name, "cpu")


@pytest.mark.usefixtures("fake_events")
def test_what_torch_warns_of_is_the_reason() -> None:
    with pytest.raises(Refused) as refused:
        measure(AttentionCase(1, 2, 5, 6, 8, variant="dropout", dtype="float32"), "flash", "cpu")
    said = str(refused.value)
    assert "No available kernel" in said
    assert "do not support non-zero dropout" in said
    assert "Triggered internally" not in said


def test_reasons_are_said_once_and_by_their_first_lines() -> None:
    def refusing() -> None:
        for _ in range(2):
            warnings.warn("head of 300 (Triggered internally at a.cpp:1.)", UserWarning, stacklevel=1)
        raise RuntimeError("no kernel\nat b.cpp")

    with pytest.raises(Refused) as refused, refusals("flash"):
        refusing()
    assert str(refused.value) == "no kernel | head of 300"


@pytest.mark.parametrize("error", [ValueError("v"), TypeError("t"), AssertionError()])
def test_a_backend_refuses_by_a_runtime_error_alone(error: Exception) -> None:
    with pytest.raises(type(error)), refusals("flash"):
        raise error


@pytest.mark.usefixtures("fake_events")
@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_an_exception_of_ours_is_no_refusal(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Tensor:
        raise kind("ours")

    monkeypatch.setattr(attention, "scaled_dot_product_attention", failing)
    with pytest.raises(kind, match="ours"):
        measure(CASE, "math", "cpu")


@pytest.mark.usefixtures("fake_events")
def test_a_fault_of_ours_that_shows_late_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty() -> None:
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(torch.cuda, "synchronize", faulty)
    with pytest.raises(RuntimeError, match="illegal"):
        measure(CASE, "math", "cpu")


# ---- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [5, 7])
def test_both_sides_are_causal_beside_a_bias(T: int) -> None:
    case = AttentionCase(1, 2, T, 6, 8, True, "bias", "train", "float32")
    operands = case.operands("cpu")
    ours, theirs = (runner(case, how(case), operands)() for how in (pyrnns, torchs))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    hidden = torch.ones(T, 6, dtype=torch.bool).triu(1)
    for gradient in (ours[4], theirs[4]):
        assert not gradient[..., hidden].any()
    both = scaled_dot_product_attention(*operands[:3], attn_mask=operands[3])
    assert not torch.allclose(both, theirs[0])


# ---- FlexAttention ---------------------------------------------------------------------------------


@pytest.fixture
def compiled_by_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Traced as on a GPU, without a compiler behind it."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=False, recompile_limit=2):
        yield
    torch._dynamo.reset()


def flex_case(number: int) -> AttentionCase:
    return AttentionCase(1, 1, 128, 128, 16, dtype=("float32", "float64", "bfloat16", "float16")[number])


@pytest.mark.usefixtures("compiled_by_nobody")
def test_each_case_is_compiled_anew() -> None:
    for number in range(4):
        case = flex_case(number)
        operands = case.operands("cpu")
        torch.testing.assert_close(flex(case, "cpu")(*operands), torchs(case)(*operands), rtol=0.1, atol=0.02)


@pytest.mark.usefixtures("compiled_by_nobody")
def test_one_that_would_not_be_compiled_is_an_error_and_no_refusal() -> None:
    attend = flex(flex_case(0), "cpu")
    for number in range(2):
        attend(*flex_case(number).operands("cpu"))
    with pytest.raises(FailOnRecompileLimitHit), refusals("flex"):
        attend(*flex_case(2).operands("cpu"))


@pytest.mark.usefixtures("compiled_by_nobody")
def test_a_causal_one_is_causal() -> None:
    case = AttentionCase(1, 1, 130, 130, 16, True, dtype="float32")
    operands = case.operands("cpu")
    torch.testing.assert_close(flex(case, "cpu")(*operands), torchs(case)(*operands))


def test_what_a_compiler_raises_is_its_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="no C compiler"), refusals("flex"):
        raise OSError("no C compiler")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Refused, match="not installed"), refusals("flex"):
        flex(CASE, "cpu")
    with pytest.raises(Refused, match="plain cases alone"), refusals("flex"):
        flex(AttentionCase(1, 2, 5, 6, 8, variant="bias"), "cpu")
