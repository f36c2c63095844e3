"""What is no tensor: integers, numbers and flags of every operator, in range and of the right type."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrnn._checks import FARTHEST, as_bool, as_integer, as_number
from pyrnn.ops import dropout, linear, recurrent, scaled_dot_product_attention
from pyrnn.ops.attention.call import as_window
from tests.attention.cases import operands
from tests.attention.checking import of_kernel, of_reference
from tests.helpers import gradients, make_layer, run_forked

HUGE = (2**31, 2**53, 2**62 - 1, 2**62, sys.maxsize - 1, sys.maxsize, 2**63, 2**64 + 3, 10**30)

# ---- predicates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("two", [2, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2)], ids=repr)
def test_integers(two: Any) -> None:
    assert as_integer("n", two) == 2
    assert type(as_integer("n", two)) is int


@pytest.mark.parametrize(
    "wrong",
    [2.0, True, "2", None, [2], 2j, np.float32(2), np.bool_(True), np.array([2]), torch.tensor(2.0),
     torch.tensor([2]), torch.tensor(True), torch.tensor(2, device="meta")],
    ids=repr,
)  # fmt: skip
def test_what_is_no_integer(wrong: Any) -> None:
    with pytest.raises(TypeError, match="n should be of type int, got: "):
        as_integer("n", wrong)


@pytest.mark.parametrize(
    "half", [0.5, np.float32(0.5), Fraction(1, 2), torch.tensor(0.5), np.array(0.5)], ids=repr
)
def test_numbers(half: Any) -> None:
    assert as_number("x", half) == 0.5
    assert type(as_number("x", half)) is float


@pytest.mark.parametrize(
    "wrong", ["0.5", None, [0.5], 1j, np.array([0.5]), torch.tensor([0.5]), torch.tensor(1j)], ids=repr
)
def test_what_is_no_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match="x should be of type float, got: "):
        as_number("x", wrong)


def test_a_number_that_no_float_holds() -> None:
    with pytest.raises(ValueError, match="x must fit in a float"):
        as_number("x", 10**400)


def test_flags() -> None:
    assert as_bool("f", True) is as_bool("f", np.bool_(True)) is as_bool("f", np.array(True)) is True
    for wrong in (1, "yes", None, np.int64(1), np.array([True]), torch.tensor(True)):
        with pytest.raises(TypeError, match="f should be of type bool, got: "):
            as_bool("f", wrong)


def test_windows() -> None:
    assert as_window((1, 2)) == as_window([np.int32(1), torch.tensor(2)]) == as_window(torch.tensor([1, 2]))
    assert as_window((-7, 10**30)) == (-1, 2**62)
    for wrong in (3, None, 1.5):
        with pytest.raises(TypeError, match=r"window should be of type \(left, right\)"):
            as_window(wrong)
    for wrong in ((1,), (1, 2, 3), "abc"):
        with pytest.raises(ValueError, match=r"window must be \(left, right\)"):
            as_window(wrong)
    for wrong in ((1.5, 2), (True, 1), "ab", (None, 1)):
        with pytest.raises(TypeError, match=r"window\[0\] should be of type int"):
            as_window(wrong)
    with pytest.raises(TypeError, match=r"window\[1\] should be of type int, got: float"):
        as_window((1, 2.5))


# ---- attention -----------------------------------------------------------------------------------

Q, K, V = operands(B=2, H=2, T=5, S=7, D=4)


@pytest.mark.parametrize("huge", HUGE)
@pytest.mark.parametrize("query_start", [0, 3, -2])
def test_windows_beyond_every_key_are_no_limit(huge: int, query_start: int) -> None:
    for window, same in (((2, huge), (2, -1)), ((huge, 1), (-1, 1)), ((huge, huge), None)):
        options: dict[str, Any] = {"query_start": query_start, "is_causal": True}
        found = of_kernel(Q, K, V, window=window, **options)
        torch.testing.assert_close(found, of_kernel(Q, K, V, window=same, **options), rtol=0, atol=0)
    assert torch.equal(of_kernel(Q, K, V, window=(-huge, -1))[0], of_kernel(Q, K, V)[0])
    half = [t.half() for t in (Q, K, V)]
    assert torch.equal(of_kernel(*half, window=(2, huge))[0], of_kernel(*half, window=(2, -1))[0])


@pytest.mark.parametrize("at", [FARTHEST, FARTHEST - 3, 2**40, 2**31, 0, -(2**31), -(2**40), -FARTHEST])
@pytest.mark.parametrize(
    "window", [None, (2, 1), (-1, 3), (2**62, 0), (0, 2**62), (2**53, 2**53), (2**53 + 9, -1)]
)
@pytest.mark.parametrize("is_causal", [False, True])
def test_far_places(at: int, window: tuple[int, int] | None, is_causal: bool) -> None:
    options: dict[str, Any] = {"query_start": at, "window": window, "is_causal": is_causal}
    leaves = [t.clone().requires_grad_() for t in (Q, K, V)]
    (found,), (exact,) = (run(*leaves, **options) for run in (of_kernel, of_reference))
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-11)
    pairs = [torch.autograd.grad(out.sum(), leaves) for out in (found, exact)]
    torch.testing.assert_close(*pairs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("huge", [*HUGE[2:], -(2**53) - 1, -(2**63), -(10**30)])
def test_places_that_are_too_far_have_words(huge: int) -> None:
    with pytest.raises(ValueError, match=r"query_start must lie in \[-2\*\*53, 2\*\*53\], got"):
        scaled_dot_product_attention(Q, K, V, query_start=huge)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_operator_itself_bears_any_int64(dtype: torch.dtype) -> None:
    tensors = [t.to(dtype) for t in (Q, K, V)]

    def call(start: int, left: int, right: int) -> Tensor:
        options = (0.0, True, None, start, left, right, 0.0, "none")
        return torch.ops.pyrnn.scaled_dot_product_attention(*tensors, *[None] * 5, *options)[0]

    assert torch.equal(call(0, sys.maxsize, sys.maxsize), call(0, -1, -1))
    assert torch.equal(call(2, 1, sys.maxsize), call(2, 1, -sys.maxsize - 1))
    with pytest.raises(ValueError, match="query_start must lie in"):
        call(sys.maxsize, 1, 1)


WRONG_OPTIONS: list[tuple[str, Any, type[Exception], str]] = [
    ("query_start", 0.5, TypeError, "query_start should be of type int, got: float"),
    ("query_start", True, TypeError, "query_start should be of type int, got: bool"),
    ("query_start", None, TypeError, "query_start should be of type int, got: NoneType"),
    ("window", (1.5, 2), TypeError, r"window\[0\] should be of type int"),
    ("window", 3, TypeError, "window should be of type"),
    ("window", "ab", TypeError, r"window\[0\] should be of type int, got: str"),
    ("is_causal", "yes", TypeError, "is_causal should be of type bool, got: str"),
    ("is_causal", 1, TypeError, "is_causal should be of type bool, got: int"),
    ("enable_gqa", None, TypeError, "enable_gqa should be of type bool, got: NoneType"),
    ("dropout_p", "a", TypeError, "dropout_p should be of type float, got: str"),
    ("dropout_p", None, TypeError, "dropout_p should be of type float, got: NoneType"),
    ("dropout_p", 10**400, ValueError, "dropout_p must fit in a float"),
    ("scale", "x", TypeError, "scale should be of type float, got: str"),
    ("scale", torch.ones(2), TypeError, r"scale should be of type float, got: torch.float32 of shape \[2\]"),
    ("softcap", None, TypeError, "softcap should be of type float, got: NoneType"),
    ("softcap", [1], TypeError, "softcap should be of type float, got: list"),
    ("return_weights", 3, ValueError, "return_weights must be None, 'mean' or 'full', got 3"),
    ("return_weights", [], ValueError, r"return_weights must be None, 'mean' or 'full', got \[\]"),
]


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize(("name", "value", "error", "words"), WRONG_OPTIONS)
def test_options_of_attention_have_words(
    name: str, value: Any, error: type[Exception], words: str, with_mask: bool
) -> None:
    mask = torch.ones(5, 7).bool() if with_mask else None
    for wrap in (
        lambda t: t,
        lambda t: t.clone().requires_grad_(),
        lambda t: t.half(),
        lambda t: t.to("meta"),
    ):
        tensors = [wrap(t) for t in (Q, K, V)]
        with pytest.raises(error, match=words):
            scaled_dot_product_attention(
                *tensors, attn_mask=None if mask is None else mask.to(tensors[0].device), **{name: value}
            )


def test_numbers_of_other_types_are_the_same_options() -> None:
    plain = of_kernel(Q, K, V, window=(2, 1), query_start=1, scale=0.5, softcap=2.0, is_causal=True)
    other = of_kernel(
        Q, K, V, window=np.array([2, 1]), query_start=torch.tensor(1), scale=np.float64(0.5),
        softcap=Fraction(2), is_causal=np.bool_(True), dropout_p=0,
    )  # fmt: skip
    assert torch.equal(plain[0], other[0])


# ---- recurrent -----------------------------------------------------------------------------------


def train_with_huge_segments() -> None:
    for cell in ("gru", "lstm"):
        for D in (1, 2):
            layer = make_layer(cell, D=D, T=5, requires_grad=True)
            for lengths in (None, torch.tensor([5, 0, 2])):
                exact = layer.run(recurrent, checkpoint_every=5, lengths=lengths)
                expected = gradients(layer, exact)
                for huge in HUGE:
                    out = layer.run(recurrent, checkpoint_every=huge, lengths=lengths)
                    torch.testing.assert_close(gradients(layer, out), expected, rtol=0, atol=0)


def test_segments_longer_than_every_sequence() -> None:
    run_forked(train_with_huge_segments, seconds=100)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_operator_itself_bears_a_huge_segment(cell: str) -> None:
    layer = make_layer(cell, requires_grad=True)
    tensors = (layer.input, layer.h0, layer.c0, None, None, None, *layer.weights[0], *[None] * 5)
    for every in (sys.maxsize, 4):
        out = torch.ops.pyrnn.recurrent(*tensors, cell, False, False, every)[0]
        torch.testing.assert_close(out, layer.run(recurrent).output)
        out.sum().backward()
    with pytest.raises(ValueError, match="positive number of steps"):
        torch.ops.pyrnn.recurrent(*tensors, cell, False, False, -1)


WRONG_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"checkpoint_every": 2.0}, TypeError, "checkpoint_every should be of type int, got: float"),
    ({"checkpoint_every": True}, TypeError, "checkpoint_every should be of type int, got: bool"),
    ({"checkpoint_every": None}, TypeError, "checkpoint_every should be of type int, got: NoneType"),
    ({"checkpoint_every": -(10**30)}, ValueError, "positive number of steps, got -1000"),
    ({"batch_first": "yes"}, TypeError, "batch_first should be of type bool, got: str"),
    ({"return_cells": 1}, TypeError, "return_cells should be of type bool, got: int"),
    ({"cell": 3}, TypeError, "cell should be of type str, got: int"),
    ({"cell": []}, TypeError, "cell should be of type str, got: list"),
]


@pytest.mark.parametrize(("changed", "error", "words"), WRONG_CALLS)
def test_options_of_the_recurrent_operator_have_words(
    changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    for dtype in (torch.float32, torch.float16):
        for trained in (False, True):
            layer = make_layer("gru", dtype=dtype, requires_grad=trained)
            call: dict[str, Any] = {
                "cell": "gru", "input": layer.input, "h0": None, "c0": None, "weights": layer.weights,
            }  # fmt: skip
            with pytest.raises(error, match=words):
                recurrent(**{**call, **changed})


# ---- dropout and linear --------------------------------------------------------------------------

X = torch.ones(3, 3)

WRONG: list[tuple[Callable[..., Any], tuple[Any, ...], type[Exception], str]] = [
    (dropout, ("a",), TypeError, "p should be of type float, got: str"),
    (dropout, (None,), TypeError, "p should be of type float, got: NoneType"),
    (dropout, (10**400,), ValueError, "p must fit in a float"),
    (dropout, (0.5, "yes"), TypeError, "training should be of type bool, got: str"),
    (linear, (X, None, 3), TypeError, "activation should be of type str, got: int"),
    (linear, (X, None, []), TypeError, "activation should be of type str, got: list"),
    (linear, (X, None, "swish"), ValueError, "one of 'relu', 'gelu', 'gelu_tanh', got 'swish'"),
]


@pytest.mark.parametrize(("operator", "arguments", "error", "words"), WRONG)
def test_options_of_dropout_and_linear_have_words(
    operator: Callable[..., Any], arguments: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        operator(X, *arguments)


@pytest.mark.parametrize("activation", [3, [], "none", "swish"])
def test_activations_of_dropout(activation: Any) -> None:
    for p in (0.0, 0.5):
        with pytest.raises(
            (TypeError, ValueError), match=r"activation (should be of type str|must be None or)"
        ):
            dropout(X, p, activation=activation)


@pytest.mark.parametrize("seed", [0, -1, sys.maxsize, -sys.maxsize - 1])
def test_every_int64_is_a_seed(seed: int) -> None:
    out = dropout(torch.ones(1000), 0.5, seed=torch.tensor(seed))
    exact = dropout(torch.ones(1000).half(), 0.5, seed=torch.tensor(seed))
    assert torch.equal(out, exact.float())
