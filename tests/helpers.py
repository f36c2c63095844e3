"""Layers to test on, torch's own answer for them, and the rule by which a kernel is accurate enough."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from pyrnn.reference import RecurrentOutput
from pyrnn.reference.recurrent import GATES

CELLS = tuple(GATES)
MODULES: dict[str, Callable[..., torch.nn.RNNBase]] = {
    "rnn_tanh": lambda *args, **kwargs: torch.nn.RNN(*args, nonlinearity="tanh", **kwargs),
    "rnn_relu": lambda *args, **kwargs: torch.nn.RNN(*args, nonlinearity="relu", **kwargs),
    "gru": torch.nn.GRU,
    "lstm": torch.nn.LSTM,
}


def assert_as_accurate(
    kernel: Iterable[Tensor | None],
    torch_result: Iterable[Tensor | None],
    oracle: Iterable[Tensor | None],
    *,
    names: Sequence[str] = (),
) -> None:
    """Require of each tensor max|kernel - oracle| <= 2 max|torch - oracle| + 4 eps max|oracle|.

    `kernel` and `torch_result` are results in the dtype under test, `oracle` the same in float64; eps is that
    of the kernel's dtype. None, in all three, passes.
    """
    for n, (ours, theirs, exact) in enumerate(zip(kernel, torch_result, oracle, strict=True)):
        name = names[n] if n < len(names) else f"tensor {n}"
        if ours is None or theirs is None or exact is None:
            assert ours is theirs is exact is None, f"{name}: None in one result and not in the others"
            continue
        assert ours.shape == theirs.shape == exact.shape, (
            f"{name}: {ours.shape}, {theirs.shape}, {exact.shape}"
        )
        assert ours.dtype == theirs.dtype, f"{name}: {ours.dtype} against torch's {theirs.dtype}"
        assert exact.dtype == torch.float64, f"{name}: the oracle is {exact.dtype}"
        if not exact.numel():
            continue
        error = (ours.double() - exact).abs().max().item()
        torch_error = (theirs.double() - exact).abs().max().item()
        bound = 2 * torch_error + 4 * torch.finfo(ours.dtype).eps * exact.abs().max().item()
        assert error <= bound, (
            f"{name}: error {error:.3g} above {bound:.3g} (torch's own error is {torch_error:.3g})"
        )


@dataclass(frozen=True)
class Layer:
    """Arguments of a recurrent operator; weights as one group per direction."""

    cell: str
    input: Tensor
    h0: Tensor | None
    c0: Tensor | None
    weights: tuple[Any, ...]

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """Every tensor that has a gradient: input, states, weights."""
        return tuple(t for t in self._slots() if t is not None)

    def _slots(self) -> tuple[Tensor | None, ...]:
        return (self.input, self.h0, self.c0, *(t for group in self.weights for t in group))

    def with_leaves(self, leaves: Iterable[Tensor]) -> Layer:
        """The same layer on other tensors, given in the order of `leaves`."""
        given = iter(leaves)
        slots = [None if t is None else next(given) for t in self._slots()]
        groups = tuple(tuple(slots[start : start + 5]) for start in range(3, len(slots), 5))
        return replace(self, input=slots[0], h0=slots[1], c0=slots[2], weights=groups)

    def to(self, dtype: torch.dtype, *, requires_grad: bool = False) -> Layer:
        """A detached copy in `dtype`."""
        return self.with_leaves(
            t.detach().to(dtype, copy=True).requires_grad_(requires_grad) for t in self.leaves
        )

    def on(self, device: str) -> Layer:
        """A detached copy on `device` whose tensors all require gradients."""
        return self.with_leaves(t.detach().to(device, copy=True).requires_grad_() for t in self.leaves)

    def trained(self) -> Layer:
        """A detached copy whose tensors all require gradients."""
        return self.to(self.input.dtype, requires_grad=True)

    def run(self, operator: Callable[..., RecurrentOutput], **options: Any) -> RecurrentOutput:
        """Call `pyrnn.ops.recurrent` or the reference."""
        return operator(self.cell, self.input, self.h0, self.c0, self.weights, **options)


def make_layer(
    cell: str,
    *,
    T: int = 4,
    B: int = 3,
    I: int = 3,  # noqa: E741
    H: int = 5,
    P: int | None = None,
    D: int = 1,
    bias: bool = True,
    states: bool = True,
    batch_first: bool = False,
    dtype: torch.dtype = torch.float64,
    requires_grad: bool = False,
    seed: int = 0,
) -> Layer:
    """A random layer with weights scaled as torch scales them."""
    generator = torch.Generator().manual_seed(seed)

    def new(*shape: int, scale: float = 1.0) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        return values.to(dtype).requires_grad_(requires_grad)

    def group() -> tuple[Tensor | None, ...]:
        rows, scale = GATES[cell] * H, H**-0.5
        return (
            new(rows, I, scale=scale),
            new(rows, P or H, scale=scale),
            new(rows, scale=scale) if bias else None,
            new(rows, scale=scale) if bias else None,
            new(P, H, scale=scale) if P else None,
        )

    return Layer(
        cell,
        new(B, T, I) if batch_first else new(T, B, I),
        new(D, B, P or H) if states else None,
        new(D, B, H) if states and cell == "lstm" else None,
        tuple(group() for _ in range(D)),
    )


def torch_recurrent(
    layer: Layer, *, lengths: Tensor | None = None, batch_first: bool = False
) -> RecurrentOutput:
    """The same layer by torch.nn, padded or, with `lengths` (at least 1), through PackedSequence."""
    w_ih, w_hh, b_ih, _, w_hr = layer.weights[0]
    H = w_ih.shape[0] // GATES[layer.cell]
    options = {"proj_size": w_hh.shape[1]} if w_hr is not None else {}
    module = MODULES[layer.cell](
        w_ih.shape[1],
        H,
        bias=b_ih is not None,
        bidirectional=len(layer.weights) == 2,
        batch_first=batch_first,
        dtype=layer.input.dtype,
        **options,
    )
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0")
    parameters = {
        name + suffix: weight
        for suffix, group in zip(("", "_reverse"), layer.weights, strict=False)
        for name, weight in zip(names, group, strict=True)
        if weight is not None
    }
    state = layer.h0
    if layer.cell == "lstm" and layer.h0 is not None:
        state = (layer.h0, layer.c0)
    data = layer.input
    if lengths is not None:
        data = pack_padded_sequence(data, lengths, batch_first=batch_first, enforce_sorted=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        output, final = torch.func.functional_call(module, parameters, (data, state))
    if isinstance(output, PackedSequence):
        T = layer.input.shape[1 if batch_first else 0]
        output, _ = pad_packed_sequence(output, batch_first=batch_first, total_length=T)
    nothing = layer.input.new_zeros(0)
    h_n, c_n = final if layer.cell == "lstm" else (final, nothing)
    return RecurrentOutput(output, h_n, c_n, nothing)


def gradients(
    layer: Layer, output: RecurrentOutput, *, sequences: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    """Gradients for the layer's leaves of output, h_n and c_n, weighted alike in every dtype; None for leaves
    that require none.

    `sequences` [B], for input [T, B, I], leaves out those where it is False.
    """
    generator = torch.Generator().manual_seed(1)
    results = [t for t in output[:3] if t.requires_grad]
    cotangents = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in results]
    if sequences is not None:
        cotangents = [cotangent * sequences[:, None] for cotangent in cotangents]
    wanted = [leaf for leaf in layer.leaves if leaf.requires_grad]
    found = iter(torch.autograd.grad(results, wanted, cotangents, allow_unused=True))
    return tuple(next(found) if leaf.requires_grad else None for leaf in layer.leaves)


def run_forked(target: Callable[..., None], *args: Any, seconds: float, keeps_threads: bool = False) -> None:
    """Run `target` in a forked child, which must end by itself within `seconds`, and without an error.

    torch's own threads do not survive a fork: unless `keeps_threads`, the child has one.
    """

    def run() -> None:
        if not keeps_threads:
            torch.set_num_threads(1)
        target(*args)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(seconds)
    hangs = child.is_alive()
    child.kill()
    child.join()
    assert not hangs, "the child hangs"
    assert child.exitcode == 0
