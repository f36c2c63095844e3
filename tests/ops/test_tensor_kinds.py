"""What operators say to tensors of another layout, device or class, and to things that are no tensors."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

import pyrnn
from pyrnn._checks import is_readable
from pyrnn.ops import (
    dropout,
    linear,
    recurrent,
    residual_layer_norm,
    rotary_embedding,
    scaled_dot_product_attention,
)
from tests.helpers import make_layer, run_forked
from tests.ops.kinds import NOT_DENSE, NOT_TENSORS, Plain

LAYER = make_layer("lstm", T=4, B=3, dtype=torch.float32)
GROUP = dict(zip(("w_ih", "w_hh", "b_ih", "b_hh", "w_hr"), LAYER.weights[0], strict=True))
PRIVATE: Any = torch  # with names that torch exports to nobody
SEED = torch.tensor(3)
MATRIX = torch.randn(3, 3)
TABLE = torch.randn(3, 2, 2)
ROWS = torch.randn(20, 3)  # more than what a kernel takes that plain tensors alone are served by


def lstm(**changed: Any) -> Any:
    call: dict[str, Any] = {"input": LAYER.input, "h0": LAYER.h0, "c0": LAYER.c0, **GROUP, **changed}
    group = tuple(call.pop(name) for name in GROUP)
    return recurrent("lstm", weights=(group,), **call)


def attention(**changed: Any) -> Any:
    call: dict[str, Any] = {
        name: torch.randn(2, 2, n, 4) for name, n in (("query", 5), ("key", 7), ("value", 7))
    }
    return scaled_dot_product_attention(**{**call, **changed})


def of(operator: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    return lambda **changed: operator(**{**arguments, **changed})


#: Operator, argument, and a dense value of it.
ARGUMENTS: list[tuple[str, Callable[..., Any], str, Tensor]] = [
    *(("lstm", lstm, name, getattr(LAYER, name)) for name in ("input", "h0", "c0")),
    *(("lstm", lstm, name, weight) for name, weight in GROUP.items() if weight is not None),
    ("lstm", lstm, "lengths", torch.tensor([4, 0, 2])),
    ("lstm", lstm, "reset", torch.zeros(4, 3).bool()),
    ("packed lstm", of(lstm, input=torch.zeros(9, 3)), "batch_sizes", torch.tensor([3, 3, 2, 1])),
    ("attention", attention, "query", torch.randn(2, 2, 5, 4)),
    *(("attention", attention, name, torch.randn(2, 2, 7, 4)) for name in ("key", "value")),
    ("attention", attention, "attn_mask", torch.randn(5, 7)),
    ("attention", attention, "key_padding_mask", torch.zeros(2, 7).bool()),
    ("attention", attention, "lengths", torch.tensor([7, 2])),
    ("attention", attention, "alibi_slopes", torch.rand(2, 2)),
    ("attention", of(attention, dropout_p=0.5), "seed", SEED),
    ("dropout", of(dropout, residual=MATRIX), "input", MATRIX),
    ("dropout", of(dropout, input=MATRIX), "residual", MATRIX),
    ("dropout", of(dropout, input=MATRIX), "seed", SEED),
    ("norm", of(residual_layer_norm, residual=MATRIX), "input", MATRIX),
    ("norm", of(residual_layer_norm, input=MATRIX), "residual", MATRIX),
    ("norm", of(residual_layer_norm, input=MATRIX, residual=MATRIX), "weight", MATRIX[0]),
    ("norm", of(residual_layer_norm, input=MATRIX, residual=MATRIX), "bias", MATRIX[0]),
    ("norm", of(residual_layer_norm, input=MATRIX, residual=MATRIX, p=0.5), "seed", SEED),
    ("rotary", of(rotary_embedding, table=TABLE), "input", TABLE.flatten(1)),
    ("rotary", of(rotary_embedding, input=TABLE.flatten(1)), "table", TABLE),
    ("linear", of(linear, weight=MATRIX), "input", ROWS),
    ("linear", of(linear, input=ROWS), "weight", MATRIX),
    ("linear", of(linear, input=ROWS, weight=MATRIX), "bias", MATRIX[0]),
]  # fmt: skip
IDS = [f"{operator}-{name}" for operator, _, name, _ in ARGUMENTS]
each_argument = pytest.mark.parametrize(("operator", "call", "name", "value"), ARGUMENTS, ids=IDS)


# ---- layouts and classes -------------------------------------------------------------------------


def layouts_of(value: Tensor) -> list[str]:
    """What torch can make of it."""
    if not value.is_floating_point():
        return ["sparse"]
    return [*NOT_DENSE] if value.dim() > 1 else ["sparse", "oneDNN", "quantized"]


@pytest.mark.parametrize("trained", [False, True])
@each_argument
def test_other_layouts_have_words(
    trained: bool, operator: str, call: Callable[..., Any], name: str, value: Tensor
) -> None:
    for kind in layouts_of(value):
        other = NOT_DENSE[kind](value.flatten(1) if kind == "CSR" and value.dim() > 2 else value)
        if trained and other.is_floating_point() and kind != "oneDNN":
            other.requires_grad_()
        # A quantized tensor is as well one of the wrong dtype.
        words = "quint8|quantized" if kind == "quantized" else f"{name} must be a dense strided tensor, got "
        with pytest.raises((TypeError, ValueError) if kind == "quantized" else TypeError, match=words):
            call(**{name: other})


@each_argument
@pytest.mark.parametrize("kind", NOT_TENSORS)
def test_things_that_are_no_tensors_have_words(
    kind: str, operator: str, call: Callable[..., Any], name: str, value: Tensor
) -> None:
    thing = NOT_TENSORS[kind]
    with pytest.raises(TypeError, match=f"{name} must be a dense strided tensor, got {type(thing).__name__}"):
        call(**{name: thing})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        *((attention, name) for name in ("query", "key", "value")),
        (lstm, "input"),
        (dropout, "input"),
        (of(linear, weight=MATRIX), "input"),
        (of(linear, input=MATRIX), "weight"),
    ],
)
def test_what_is_required_is_not_none(call: Callable[..., Any], name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a dense strided tensor, got NoneType"):
        call(**{name: None})


def test_weights_that_are_no_groups() -> None:
    for wrong in (None, 3, [1, 2], torch.zeros(())):
        with pytest.raises(TypeError, match="weights should be a tuple of groups"):
            recurrent("lstm", LAYER.input, None, None, wrong)  # type: ignore[arg-type]


def test_sparse_gradients_have_words() -> None:
    query = torch.randn(2, 2, 5, 4, requires_grad=True)
    for result in (attention(query=query), lstm(input=LAYER.input.clone().requires_grad_()).output,
                   dropout(MATRIX.clone().requires_grad_())):  # fmt: skip
        with pytest.raises(TypeError, match="must be a dense strided tensor, got one"):
            result.backward(torch.ones_like(result).to_sparse())


@each_argument
@pytest.mark.parametrize("wrap", [lambda t: t.as_subclass(Plain), lambda t: torch.nn.Parameter(t, False)])
def test_classes_of_dense_tensors_change_nothing(
    wrap: Callable[[Tensor], Tensor], operator: str, call: Callable[..., Any], name: str, value: Tensor
) -> None:
    def result(value: Tensor) -> Tensor:
        torch.manual_seed(0)
        found = call(**{name: value})
        return found if isinstance(found, Tensor) else found[0]

    # A linear layer of somebody's class is torch's to multiply, which rounds otherwise than our kernel.
    exact: dict[str, Any] = {} if operator == "linear" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(result(wrap(value)).as_subclass(Tensor), result(value), **exact)


@pytest.mark.parametrize("bits", ["neg", "zero"])
def test_tensors_without_their_numbers_are_resolved_or_refused(bits: str) -> None:
    if bits == "neg":
        key = torch.randn(2, 2, 7, 4)
        query = torch.randn(2, 2, 5, 4)
        found = attention(query=query, key=PRIVATE._neg_view(key), value=key)
        torch.testing.assert_close(found, attention(query=query, key=-key, value=key))
        torch.testing.assert_close(
            lstm(input=PRIVATE._neg_view(LAYER.input)).output, lstm(input=-LAYER.input).output
        )
        return
    with pytest.raises(ValueError, match="no memory behind it"):
        attention(key=PRIVATE._efficientzerotensor(2, 2, 7, 4))
    with pytest.raises(ValueError, match="no memory behind it"):
        lstm(w_hh=PRIVATE._efficientzerotensor(20, 5))
    run_forked(refuse_views_of_nothing, seconds=100)


def refuse_views_of_nothing() -> None:
    """Their address is not 0, but the offset."""
    nothing = PRIVATE._efficientzerotensor
    with pytest.raises(ValueError, match="no memory behind it"):
        attention(key=nothing(3, 2, 7, 4)[1:])
    with pytest.raises(ValueError, match="no memory behind it"):
        lstm(w_hh=nothing(40, 5)[20:])
    _, h_n = pyrnn.GRU(3, 4, num_layers=2)(LAYER.input)
    with pytest.raises(ValueError, match="no memory behind it"):
        h_n.backward(nothing(2, 3, 4))


# ---- devices -------------------------------------------------------------------------------------


@each_argument
def test_a_tensor_without_values_among_others(
    operator: str, call: Callable[..., Any], name: str, value: Tensor
) -> None:
    with pytest.raises(ValueError, match=r"device|on the CPU|CPU tensor"):
        call(**{name: value.to("meta")})


def test_shapes_alone_may_have_lengths_and_seeds_with_and_without_values() -> None:
    on_meta = {name: torch.empty(2, 2, 7, 4, device="meta") for name in ("query", "key", "value")}
    for lengths in (torch.tensor([7, 9]), torch.empty(2, dtype=torch.int64, device="meta")):
        found = attention(**on_meta, lengths=lengths.clamp(max=7) if lengths.is_cpu else lengths)
        assert found.is_meta
    assert attention(**on_meta, dropout_p=0.5).is_meta
    assert attention(**on_meta, dropout_p=0.5, seed=SEED.to("meta")).is_meta
    with pytest.raises(ValueError, match="from 7 to 9"):
        attention(**on_meta, lengths=torch.tensor([7, 9]))
    layer = {name: None if t is None else t.to("meta") for name, t in GROUP.items()}
    layer |= {name: getattr(LAYER, name).to("meta") for name in ("input", "h0", "c0")}
    lengths = torch.tensor([4, 0, 2])
    assert lstm(**layer, lengths=lengths).output.is_meta
    assert lstm(**layer, lengths=lengths.to("meta")).output.is_meta
    packed = {**layer, "input": torch.empty(9, 3, device="meta")}
    assert lstm(**packed, batch_sizes=torch.tensor([3, 3, 2, 1])).output.is_meta
    assert lstm(**packed, batch_sizes=torch.empty(4, dtype=torch.int64, device="meta")).output.is_meta


def test_a_default_device_changes_nothing() -> None:
    lengths, query = torch.tensor([4, 0, 2]), torch.randn(1, 1, 5, 4)
    outside = lstm(lengths=lengths).output
    with torch.device("meta"):
        assert torch.equal(lstm(lengths=lengths).output, outside)
        assert attention(query=query, key=query, value=query, dropout_p=0.5).is_cpu
        assert dropout(MATRIX, 0.5).is_cpu


# ---- integers that are places in memory ----------------------------------------------------------

CLASSES: dict[str, Callable[[Tensor], Tensor]] = {
    "Tensor": lambda t: t,
    "Parameter": lambda t: torch.nn.Parameter(t, requires_grad=False),
    "Plain": lambda t: t.as_subclass(Plain),
}


def refuse_lengths(kind: str) -> None:
    x, wrong = torch.zeros(5, 2, 3), CLASSES[kind](torch.tensor([6, 2**40]))
    for trained in (False, True):
        for layer in (pyrnn.GRU(3, 4), pyrnn.LSTM(3, 4, bidirectional=True)):
            with pytest.raises(ValueError, match="lengths must lie in"):
                layer(x.requires_grad_(trained), lengths=wrong)
        query = torch.zeros(2, 2, 5, 4, requires_grad=trained)
        with pytest.raises(ValueError, match="lengths must lie in"):
            scaled_dot_product_attention(query, query, query, lengths=wrong)
        # The second time, the description of the call is known already.
        scaled_dot_product_attention(query, query, query, lengths=CLASSES[kind](torch.tensor([5, 0])))
        with pytest.raises(ValueError, match="lengths must lie in"):
            scaled_dot_product_attention(query, query, query, lengths=wrong)
        for sizes in ([2**40, 1], [3, 3, 3, -1], [3, 3]):
            with pytest.raises(ValueError, match="batch_sizes must fall"):
                lstm(
                    input=torch.zeros(8, 3, requires_grad=trained),
                    batch_sizes=CLASSES[kind](torch.tensor(sizes)),
                )


@pytest.mark.parametrize("kind", CLASSES)
def test_lengths_of_any_class_are_checked(kind: str) -> None:
    run_forked(refuse_lengths, kind, seconds=100)


def call_while_lengths_change(seconds: float) -> None:
    """Another thread writes lengths that no kernel could bear; each call takes them or refuses them."""
    lengths = torch.tensor([5, 3])
    sizes = torch.tensor([2, 2, 2])
    ends = threading.Event()

    def write() -> None:
        shared = lengths.data, sizes.data  # unseen by autograd's counter of changes
        while not ends.is_set():
            for tensor in shared:
                tensor.fill_(2**45)
                tensor.fill_(2)

    sys.setswitchinterval(1e-6)
    writer = threading.Thread(target=write)
    writer.start()
    x, gru = torch.zeros(5, 2, 3, requires_grad=True), pyrnn.GRU(3, 4)
    query = torch.zeros(2, 2, 5, 4, requires_grad=True)
    h0, weights = torch.zeros(1, 2, 4), gru._layer_weights(0)

    def packed() -> Any:
        return recurrent("gru", torch.zeros(6, 3), h0, None, weights, batch_sizes=sizes)

    calls: list[Callable[[], Any]] = [
        lambda: gru(x, lengths=lengths)[0].sum().backward(),
        lambda: attention(query=query, key=query, value=query, lengths=lengths).sum().backward(),
        lambda: packed().output.sum().backward(),
    ]
    clock = threading.Timer(seconds, ends.set)
    clock.start()
    passed = refused = 0
    while not ends.is_set():
        for call in calls:
            with contextlib.suppress(ValueError):
                refused += 1
                call()
                refused, passed = refused - 1, passed + 1
    writer.join()
    assert passed
    assert refused


def test_lengths_that_another_thread_changes_reach_no_kernel() -> None:
    run_forked(call_while_lengths_change, 3.0, seconds=100)


def test_what_can_be_read() -> None:
    lengths = torch.tensor([1, 2])
    assert all(is_readable(wrap(lengths)) for wrap in CLASSES.values())
    assert not is_readable(lengths.to("meta"))
    assert not is_readable(FakeTensorMode().from_tensor(lengths))
    seen: list[bool] = []
    torch.func.vmap(lambda t: seen.append(is_readable(t)) or t)(lengths)
    assert seen == [False]


# ---- derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_slopes_that_want_a_gradient_are_refused(dtype: torch.dtype) -> None:
    query, slopes = torch.randn(2, 2, 5, 4, dtype=dtype), torch.rand(2, requires_grad=True)

    def run(slopes: Tensor) -> Tensor:
        out = scaled_dot_product_attention(query, query, query, alibi_slopes=slopes)
        assert isinstance(out, Tensor)
        return out

    words = r"alibi_slopes has no derivative, .*alibi_slopes.detach\(\)"
    with pytest.raises(ValueError, match=words):
        run(slopes)
    with pytest.raises(ValueError, match=words):
        torch.func.grad(lambda slopes: run(slopes).sum())(slopes.detach())
    options = (0.0, False, None, 0, -1, -1, 0.0, "none")
    others = (None, None, None, slopes[None], None)
    with pytest.raises(ValueError, match=words):
        torch.ops.pyrnn.scaled_dot_product_attention(query, query, query, *others, *options)
    with torch.no_grad():
        assert torch.equal(run(slopes), run(slopes.detach()))
