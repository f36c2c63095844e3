"""What the operator accepts, what it refuses, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from pyrnn import reference
from pyrnn.ops import recurrent
from tests.helpers import CELLS, Layer, gradients, make_layer
from tests.ops.conftest import KernelCalls


def assert_equals_reference(layer: Layer, **options: Any) -> None:
    """Results and gradients, in float64."""
    ours, exact = layer.run(recurrent, **options), layer.run(reference.recurrent, **options)
    torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(gradients(layer, ours), gradients(layer, exact), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lengths", [[4, 4, 4], [1, 3, 2], [0, 2, 0], [0, 0, 0]])
@pytest.mark.parametrize("cell", CELLS)
def test_unsorted_lengths(cell: str, lengths: list[int]) -> None:
    layer = make_layer(cell, D=2, requires_grad=True)
    assert_equals_reference(layer, lengths=torch.tensor(lengths), return_cells=cell == "lstm")


def test_int32_lengths() -> None:
    assert_equals_reference(
        make_layer("gru", requires_grad=True), lengths=torch.tensor([2, 4, 1], dtype=torch.int32)
    )


def test_strided_lengths() -> None:
    assert_equals_reference(
        make_layer("gru", requires_grad=True), lengths=torch.tensor([2, 9, 4, 9, 0, 9])[::2]
    )


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_packed_rows(cell: str, D: int) -> None:
    layer = make_layer(cell, B=4, D=D)
    packed = pack_padded_sequence(layer.input, torch.tensor([4, 3, 3, 1]))
    layer = replace(layer, input=packed.data).trained()
    assert_equals_reference(layer, batch_sizes=packed.batch_sizes, return_cells=cell == "lstm")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize(("T", "B"), [(0, 2), (3, 0), (0, 0)])
def test_no_tokens(cell: str, states: bool, T: int, B: int) -> None:
    layer = make_layer(cell, T=T, B=B, D=2, states=states, requires_grad=True)
    ours, exact = layer.run(recurrent), layer.run(reference.recurrent)
    torch.testing.assert_close(ours, exact)
    loss = ours.output.sum() + ours.h_n.sin().sum() + ours.c_n.sin().sum()
    torch.autograd.backward(loss)
    grads = [leaf.grad for leaf in layer.leaves]
    for leaf, grad in zip(layer.leaves, grads, strict=True):
        is_state = leaf is layer.h0 or leaf is layer.c0
        torch.testing.assert_close(grad, leaf.detach().cos() if is_state else torch.zeros_like(leaf))


def test_packed_without_rows() -> None:
    layer = make_layer("gru", B=0)
    out = recurrent("gru", torch.zeros(0, 3, dtype=torch.float64), layer.h0, None, layer.weights,
                    batch_sizes=torch.zeros(0, dtype=torch.int64))  # fmt: skip
    assert out.output.shape == (0, 5)
    assert out.h_n.shape == (1, 0, 5)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "rows of a wider tensor": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "every second step": lambda x: x.repeat_interleave(2, 0)[::2],
    "features apart": lambda x: x.transpose(0, 2).contiguous().transpose(0, 2),
    "one sequence expanded": lambda x: x[:, :1].expand(x.shape),
    "one number expanded": lambda x: x[:1, :1, :1].expand(x.shape),
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_input_strides(layout: str, batch_first: bool) -> None:
    layer = make_layer("gru", D=2, batch_first=batch_first)
    layer = replace(layer, input=LAYOUTS[layout](layer.input))
    ours = layer.run(recurrent, batch_first=batch_first)
    torch.testing.assert_close(ours, layer.run(reference.recurrent, batch_first=batch_first))
    assert all(t.is_contiguous() for t in ours)


def test_states_and_weights_in_any_layout() -> None:
    layer = make_layer("lstm", D=2, P=2)
    scattered = layer.with_leaves(
        t.mT.contiguous().mT if t.dim() > 1 else t.repeat_interleave(2)[::2] for t in layer.leaves
    )
    expanded = scattered.with_leaves(t[..., :1].expand(t.shape) for t in scattered.leaves)
    for moved in (scattered, expanded):
        trained = moved.with_leaves(t.requires_grad_() for t in moved.leaves)
        assert_equals_reference(trained)


def test_features_of_size_one_in_any_stride() -> None:
    layer = make_layer("gru", I=1)
    assert_equals_reference(replace(layer, input=layer.input.repeat(1, 1, 2)[..., ::2]).trained())


@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_sequence(cell: str) -> None:
    layer = make_layer(cell, T=5, B=9, H=18, D=2, dtype=torch.float32)
    clean = layer.run(recurrent)
    layer.input[2, 4] = float("nan")
    out = layer.run(recurrent)
    others = [b for b in range(9) if b != 4]
    torch.testing.assert_close(out.output[:, others], clean.output[:, others], rtol=0, atol=0)
    assert out.output[2:, 4, :18].isnan().all()
    assert out.output[:3, 4, 18:].isnan().all()
    assert out.h_n[:, 4].isnan().all()


@pytest.mark.parametrize("cell", CELLS)
def test_infinity_saturates(cell: str) -> None:
    layer = make_layer(cell, bias=False, states=False, T=1, dtype=torch.float32)
    layer = replace(layer, input=torch.full_like(layer.input, 1e30))
    torch.testing.assert_close(layer.run(recurrent), layer.run(reference.recurrent))


def test_padding_is_never_read() -> None:
    layer = make_layer("gru", D=2)
    lengths = torch.tensor([2, 4, 0])
    clean = layer.run(recurrent, lengths=lengths)
    layer.input[2:, 0] = float("nan")
    layer.input[:, 2] = float("inf")
    layer = layer.trained()
    out = layer.run(recurrent, lengths=lengths)
    torch.testing.assert_close(out, clean, rtol=0, atol=0)
    assert all(grad is not None and grad.isfinite().all() for grad in gradients(layer, out))


def test_float16_takes_the_reference(kernel_calls: KernelCalls) -> None:
    layer = make_layer("lstm", dtype=torch.float16, requires_grad=True)
    out = layer.run(recurrent, batch_first=False)
    torch.testing.assert_close(out, layer.run(reference.recurrent))
    assert all(grad is not None for grad in gradients(layer, out))
    with torch.no_grad():
        torch.testing.assert_close(layer.run(recurrent), out)
    assert kernel_calls.counts == (0, 0)


BASE = make_layer("lstm", T=4, B=3, I=3, H=5, D=2, dtype=torch.float32)
PACKED = torch.zeros(8, 3)


def group(**changed: Any) -> tuple[Any, ...]:
    """The forward direction's weights with some of them replaced."""
    names = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
    return tuple(changed.get(name, weight) for name, weight in zip(names, BASE.weights[0], strict=True))


def zeros(*shape: int, **options: Any) -> Tensor:
    return torch.zeros(*shape, **options)


BAD_CALLS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "unknown cell": ({"cell": "gruu"}, ValueError, "one of rnn_tanh, rnn_relu, gru, lstm, got 'gruu'"),
    "integer input": ({"input": zeros(4, 3, 3).long()}, TypeError, "floating point tensor, got torch.int64"),
    "input without batch": ({"input": zeros(4, 3)}, ValueError, r"\[T, B, I\] with I = 3, got \[4, 3\]"),
    "features": ({"input": zeros(4, 3, 2)}, ValueError, r"I = 3, got \[4, 3, 2\]"),
    "batch of h0": ({"h0": zeros(2, 4, 5)}, ValueError, r"h0 must have shape \[D, B, P\] = \[2, 3, 5\]"),
    "directions of h0": ({"h0": zeros(1, 3, 5)}, ValueError, r"= \[2, 3, 5\], got \[1, 3, 5\]"),
    "size of c0": ({"c0": zeros(2, 3, 6)}, ValueError, r"c0 must have shape \[D, B, H\]"),
    "c0 of a gru": ({"cell": "gru", "weights": make_layer("gru", dtype=torch.float32).weights, "h0": None},
                    ValueError, "leave it out"),
    "dtype of weights": ({"input": zeros(4, 3, 3, dtype=torch.float64)}, ValueError, "not the same dtype"),
    "dtype of h0": ({"h0": zeros(2, 3, 5, dtype=torch.float64)}, ValueError, "h0 are not the same dtype"),
    "device": ({"h0": zeros(2, 3, 5, device="meta")}, ValueError, "not at the same device"),
    "no weights": ({"weights": ()}, ValueError, "1 or 2 directions"),
    "three directions": ({"weights": (group(),) * 3}, ValueError, "1 or 2 directions"),
    "short group": ({"weights": (group()[:4],)}, ValueError, "one group"),
    "rows of w_ih": ({"weights": (group(w_ih=zeros(19, 3)),)}, ValueError, r"w_ih must .* \[4\*H, I\]"),
    "no hidden units": ({"weights": (group(w_ih=zeros(0, 3)),)}, ValueError, "at least 1"),
    "w_hh": ({"weights": (group(w_hh=zeros(20, 4)),)}, ValueError, r"shape \[4\*H, P\] = \[20, 5\]"),
    "bias": ({"weights": (group(b_hh=zeros(5)),)}, ValueError, r"b_hh must have shape \[4\*H\] = \[20\]"),
    "w_hr": ({"weights": (group(w_hr=zeros(2, 4)),)}, ValueError, r"w_h[hr] must have shape"),
    "reverse weight": ({"weights": (group(), group(w_hh=zeros(20, 4)))}, ValueError, "w_hh_reverse must"),
    "reverse bias": ({"weights": (group(), group(b_ih=None))}, ValueError, "b_ih is given in the forward"),
    "projection of a gru": ({"cell": "gru", "h0": None, "c0": None, "weights": (
        (zeros(15, 3), zeros(15, 2), None, None, zeros(2, 5)),)}, ValueError, "leave it out"),
    "negative length": ({"lengths": torch.tensor([1, -1, 2])}, ValueError, r"T = 4, got .* from -1"),
    "long length": ({"lengths": torch.tensor([1, 5, 2])}, ValueError, "to 5"),
    "float lengths": ({"lengths": torch.tensor([1.0, 2.0, 3.0])}, TypeError, "int32 or int64"),
    "count of lengths": ({"lengths": torch.tensor([1, 2])}, ValueError, r"shape \[B\] = \[3\]"),
    "float reset": ({"reset": zeros(4, 3)}, TypeError, r"must be bool, .* torch.float32; .*reset.bool"),
    "shape of reset": ({"reset": zeros(3, 4).bool()}, ValueError, r"reset must have .*\[T, B\] = \[4, 3\]"),
    "layout of reset": ({"reset": zeros(4, 3).bool(), "batch_first": True, "input": zeros(3, 4, 3)},
                        ValueError, r"\[B, T\] = \[3, 4\], got \[4, 3\]"),
    "features of reset": ({"reset": zeros(4, 3, 1).bool()}, ValueError, r"\[T, B\] = \[4, 3\]"),
    "packed reset": ({"input": PACKED, "batch_sizes": torch.tensor([3, 3, 2]), "reset": zeros(4, 3).bool()},
                     ValueError, r"\[N\] = \[8\], got \[4, 3\]"),
    "device of reset": ({"reset": zeros(4, 3, device="meta").bool()}, ValueError, "not at the same device"),
    "list of resets": ({"reset": [[True, False]]}, TypeError, "reset must be a dense .* got list"),
    "negative checkpoint": ({"checkpoint_every": -1}, ValueError, "number of steps"),
    "packed without h0": ({"input": PACKED, "h0": None, "batch_sizes": torch.tensor([3, 3, 2])},
                          ValueError, "needs h0"),
    "packed with lengths": ({"input": PACKED, "batch_sizes": torch.tensor([3, 3, 2]),
                             "lengths": torch.tensor([1, 1, 1])}, ValueError, "exclude each other"),
    "packed three-dimensional": ({"batch_sizes": torch.tensor([3, 3, 2])}, ValueError, r"\[N, I\]"),
    "packed rows": ({"input": PACKED, "batch_sizes": torch.tensor([3, 3, 1])}, ValueError, "the 8 rows"),
    "rising batch sizes": ({"input": PACKED, "batch_sizes": torch.tensor([3, 2, 3])}, ValueError, "fall"),
    "empty steps": ({"input": PACKED[:6], "batch_sizes": torch.tensor([3, 3, 0])}, ValueError, "at least 1"),
    "batch of packed": ({"input": PACKED[:4], "batch_sizes": torch.tensor([2, 2])}, ValueError, "B = 3"),
    "float batch sizes": ({"input": PACKED, "batch_sizes": torch.tensor([3.0, 5.0])}, TypeError, "int64"),
    "matrix of batch sizes": ({"input": PACKED, "batch_sizes": torch.tensor([[3, 5]])}, ValueError, "T"),
}  # fmt: skip


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_have_words(name: str, requires_grad: bool, kernel_calls: KernelCalls) -> None:
    changed, error, words = BAD_CALLS[name]
    call: dict[str, Any] = {
        "cell": "lstm", "input": BASE.input, "h0": BASE.h0, "c0": BASE.c0, "weights": BASE.weights, **changed,
    }  # fmt: skip
    if requires_grad and call["input"].is_floating_point():
        call["input"] = call["input"].clone().requires_grad_()
    with pytest.raises(error, match=words):
        recurrent(**call)
    assert kernel_calls.counts == (0, 0)


def test_freed_storage_is_noticed() -> None:
    layer = make_layer("gru", dtype=torch.float32)
    weight = layer.weights[0][1].clone()
    weight.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="no memory behind it"):
        recurrent("gru", layer.input, None, None, ((layer.weights[0][0], weight, None, None, None),))


def test_backward_operator_checks_what_it_is_given() -> None:
    layer = make_layer("gru", dtype=torch.float32)
    tensors = (layer.input, layer.h0, None, None, None, None, *layer.weights[0], *[None] * 5)
    options = ("gru", False, False, 0)
    output, _, _, _, workspace, _ = torch.ops.pyrnn._recurrent_fwd(*tensors, *options)

    def backward(g_output: Tensor, output: Tensor, workspace: Tensor) -> Any:
        grads = (g_output, None, None, None)
        return torch.ops.pyrnn._recurrent_bwd(*grads, *tensors, output, workspace, *options, [True] * 13)

    with pytest.raises(ValueError, match="gradient of output must have shape"):
        backward(output[1:], output, workspace)
    with pytest.raises(ValueError, match="output must have shape"):
        backward(output, output[1:], workspace)
    with pytest.raises(ValueError, match="workspace must have shape"):
        backward(output, output, workspace[1:])
    with pytest.raises(ValueError, match="workspace are not the same dtype"):
        backward(output, output, workspace.double())


def test_packed_sequence_fields_are_taken_as_they_are() -> None:
    layer = make_layer("gru")
    packed = pack_padded_sequence(layer.input, torch.tensor([1, 4, 2]), enforce_sorted=False)
    assert isinstance(packed, PackedSequence)
    out = recurrent("gru", packed.data, layer.h0, None, layer.weights, batch_sizes=packed.batch_sizes)
    assert out.output.shape == (7, 5)
