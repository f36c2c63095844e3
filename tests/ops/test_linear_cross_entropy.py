"""Cross-entropy without logits: numbers, gradients, what does not count, transforms, memory, refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap
from torch.library import opcheck
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pyrnn.bench.memory import peak_bytes
from pyrnn.losses import sequence_cross_entropy, sequence_linear_cross_entropy
from pyrnn.ops import linear, linear_cross_entropy, linear_cross_entropy_route
from pyrnn.ops.linear_cross_entropy import call
from pyrnn.reference.linear_cross_entropy import linear_cross_entropy as reference
from tests.helpers import assert_as_accurate

NAMES = ("loss", "d_input", "d_weight", "d_bias")
#: Rows, features, classes around vectors and chunks.
SHAPES = [(1, 1, 1), (3, 5, 2), (7, 3, 17), (33, 16, 65), (100, 9, 129), (5, 40, 1030), (4, 0, 3)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case(N: int, H: int, V: int, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor]:
    """input, weight and bias; targets."""
    made = [drawn(N, H), drawn(V, H, seed=1), drawn(V, seed=2)]
    targets = torch.randint(V, (N,), generator=torch.Generator().manual_seed(3))
    return [tensor.to(dtype) for tensor in made], targets


def composed(x: Tensor, w: Tensor, t: Tensor, b: Tensor | None = None, **options: Any) -> Tensor:
    """By torch, as a model computes it; 16-bit logits are widened."""
    logits = F.linear(x, w, b)
    wide = logits if logits.dtype is torch.float64 else logits.float()
    return F.cross_entropy(wide, t, **options)


def run(
    operator: Callable[..., Tensor], given: list[Tensor], targets: Tensor, dtype: torch.dtype, **options: Any
) -> tuple[Tensor, ...]:
    """Loss and gradients in `dtype`, those of three times the loss."""
    leaves = [tensor.to(dtype, copy=True).requires_grad_() for tensor in given]
    loss = operator(leaves[0], leaves[1], targets, *leaves[2:], **options)
    return loss.detach(), *torch.autograd.grad(3 * loss, leaves)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_CHUNK_BYTES", 1)  # the fewest rows that a chunk may have


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_accurate_as_torch(
    isa: str, small_chunks: None, shape: tuple[int, int, int], dtype: torch.dtype, smoothing: float
) -> None:
    given, targets = case(*shape, dtype)
    for reduction in ("mean", "sum"):
        options = {"reduction": reduction, "label_smoothing": smoothing}
        exact = run(composed, given, targets, torch.float64, **options)
        theirs = run(composed, given, targets, dtype, **options)
        found = run(linear_cross_entropy, given, targets, dtype, **options)
        assert_as_accurate(found, theirs, exact, names=NAMES)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float64_to_the_last_digits(isa: str, small_chunks: None, shape: tuple[int, int, int]) -> None:
    given, targets = case(*shape)
    for with_bias in (given, given[:2]):
        found, exact = (
            run(f, with_bias, targets, torch.float64, label_smoothing=0.2)
            for f in (linear_cross_entropy, composed)
        )
        for a, b in zip(found, exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_the_whole_is_one_chunk_or_many() -> None:
    assert call.chunks_of(2048, 65, 4) == [(0, 2048)]
    chunks = call.chunks_of(4096, 32_000, 4)
    assert len(chunks) == 16
    assert [begin for begin, _ in chunks[1:]] == [end for _, end in chunks[:-1]]
    assert call.chunks_of(0, 65, 4) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_what_a_gpu_does_is_the_same(
    monkeypatch: pytest.MonkeyPatch, small_chunks: None, dtype: torch.dtype
) -> None:
    given, targets = case(40, 9, 37, dtype)
    options = {"label_smoothing": 0.1, "ignore_index": 5, "weights": drawn(40, seed=4).abs()}
    found = run(linear_cross_entropy, given, targets, dtype, **options)
    monkeypatch.setattr(call, "_by_kernel", call._by_torch)
    again = run(linear_cross_entropy, given, targets, dtype, **options)
    for a, b in zip(found, again, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("largest", [1e4, 1e30, 3e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_extreme_logits(isa: str, dtype: torch.dtype, largest: float) -> None:
    bias = torch.tensor([largest, -largest, 0.0, largest / 2, -1.0] * 7, dtype=dtype)
    given = [torch.zeros(4, 3, dtype=dtype), torch.ones(35, 3, dtype=dtype), bias]
    targets = torch.tensor([0, 1, 2, 4])
    theirs = run(composed, given, targets, dtype, reduction="sum")
    found = run(linear_cross_entropy, given, targets, dtype, reduction="sum")
    for a, b in zip(found, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan])
def test_logits_that_are_not_finite(isa: str, number: float) -> None:
    """A row is no number where torch's is, and rows beside it do not notice."""
    given, targets = case(6, 3, 35)
    given[2][4] = number
    found, theirs = (run(f, given, targets, torch.float64) for f in (linear_cross_entropy, composed))
    for a, b in zip(found, theirs, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


# ---- what does not count -------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_rows_that_do_not_count_may_hold_anything(isa: str, small_chunks: None, reduction: Any) -> None:
    given, targets = case(50, 6, 21)
    weights = drawn(50, seed=4)
    weights[::7], targets[::3] = 0, -100
    given[0][::3], given[0][::7] = torch.nan, torch.inf
    alive = (weights != 0) & (targets != -100)
    loss, d_input, *others = run(
        lambda x, w, t, b: linear_cross_entropy(x, w, t, b, weights=weights, reduction=reduction),
        given,
        targets,
        torch.float64,
    )
    kept = [given[0][alive], *given[1:]]

    def exact(x: Tensor, w: Tensor, t: Tensor, b: Tensor) -> Tensor:
        total = (F.cross_entropy(F.linear(x, w, b), t, reduction="none") * weights[alive]).sum()
        return total / weights[alive].sum() if reduction == "mean" else total

    of_kept = run(exact, kept, targets[alive], torch.float64)
    for a, b in zip((loss, d_input[alive], *others), of_kept, strict=True):
        torch.testing.assert_close(a, b)
    assert not d_input[~alive].any()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nothing_that_counts_is_zero(reduction: str) -> None:
    given, targets = case(4, 3, 5)
    for t, some in ((torch.full_like(targets, -100), given), (targets[:0], [given[0][:0], *given[1:]])):
        for found in run(linear_cross_entropy, some, t, torch.float64, reduction=reduction):
            assert not found.any()


def test_weights_have_gradients() -> None:
    given, targets = case(9, 4, 6)
    targets[2] = -100
    weights = drawn(9, seed=5).requires_grad_()
    with torch.no_grad():
        weights[5] = 0
    loss = linear_cross_entropy(given[0], given[1], targets, given[2], weights=weights, reduction="sum")
    (found,) = torch.autograd.grad(loss, weights)
    exact = F.cross_entropy(F.linear(given[0], given[1], given[2]), targets, reduction="none")
    exact[5] = 0  # as `pyrnn.losses` has it
    torch.testing.assert_close(found, exact)


def test_the_loss_of_sequences_is_that_of_their_logits() -> None:
    hidden, weight, bias = drawn(7, 3, 4), drawn(11, 4, seed=1), drawn(11, seed=2)
    targets = torch.randint(11, (7, 3))
    cases: tuple[dict[str, Any], ...] = (
        {},
        {"lengths": [7, 0, 3]},
        {"weights": drawn(7, seed=3).abs(), "lengths": [1, 7, 2]},
        {"weights": torch.rand(7, 3) < 0.5, "reduction": "sum", "label_smoothing": 0.1},
    )
    for options in cases:
        found = sequence_linear_cross_entropy(hidden, weight, targets, bias, **options)
        exact = sequence_cross_entropy(F.linear(hidden, weight, bias), targets, **options)
        torch.testing.assert_close(found, exact)
    with pytest.raises(ValueError, match="no step counts"):
        sequence_linear_cross_entropy(hidden, weight, targets, bias, lengths=[0, 0, 0])


# ---- derivatives and transforms ------------------------------------------------------------------


def test_derivatives_of_the_first_and_second_order(small_chunks: None) -> None:
    given, targets = case(20, 2, 3)
    leaves = [tensor.requires_grad_() for tensor in (*given, drawn(20, seed=6))]
    targets[4] = -100

    def function(x: Tensor, w: Tensor, b: Tensor, weights: Tensor) -> Tensor:
        return linear_cross_entropy(x, w, targets, b, weights=weights, label_smoothing=0.1)

    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)], ids=str)
def test_gradients_of_some(wanted: tuple[int, ...]) -> None:
    results = []
    for f in (linear_cross_entropy, composed):
        given, targets = case(20, 4, 7)
        leaves = [given[n].requires_grad_() for n in wanted]
        results.append(torch.autograd.grad(f(given[0], given[1], targets, given[2]), leaves))
    torch.testing.assert_close(*results)


def test_a_tied_head_and_a_second_backward_pass() -> None:
    table, ids = drawn(13, 4).requires_grad_(), torch.randint(13, (9,))
    loss = linear_cross_entropy(table[ids], table, ids.roll(1))
    (exact,) = torch.autograd.grad(composed(table[ids], table, ids.roll(1)), table)
    for _ in range(2):
        (found,) = torch.autograd.grad(loss, table, retain_graph=True)
        torch.testing.assert_close(found, exact)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_transforms_and_compiled_code() -> None:
    given, targets = case(6, 3, 5)

    def loss(x: Tensor) -> Tensor:
        return linear_cross_entropy(x, given[1], targets, given[2])

    def exact(x: Tensor) -> Tensor:
        return composed(x, given[1], targets, given[2])

    batch = drawn(2, 6, 3, seed=8)
    torch.testing.assert_close(vmap(loss)(batch), torch.stack([exact(x) for x in batch]))
    torch.testing.assert_close(vmap(grad(loss))(batch), torch.stack([grad(exact)(x) for x in batch]))
    for a, b in zip(*(jvp(f, (batch[0],), (batch[1],)) for f in (loss, exact)), strict=True):
        torch.testing.assert_close(a, b)
    leaf = batch[0].clone().requires_grad_()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        torch.autograd.grad(compiled(leaf), leaf), torch.autograd.grad(exact(leaf), leaf)
    )


def test_the_operators_keep_torch_s_rules() -> None:
    given, targets = case(6, 3, 5, torch.float32)
    leaves = [tensor.requires_grad_() for tensor in given]
    weights = torch.rand(6, requires_grad=True)
    wanted = [True, True, True]
    opcheck(torch.ops.pyrnn.linear_cross_entropy.default, (*leaves, targets, weights, 0.1, -100, wanted))
    opcheck(
        torch.ops.pyrnn.linear_cross_entropy.default, (*given[:2], None, targets, None, 0.0, 2, [False] * 3)
    )


def test_autocast_casts_the_product() -> None:
    given, targets = case(12, 8, 9, torch.float32)
    leaves = [tensor.requires_grad_() for tensor in given]
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(leaves[0], leaves[1], targets, leaves[2])
        assert linear_cross_entropy_route(leaves[0]).path == "native"
    assert loss.dtype is torch.float32
    found = torch.autograd.grad(loss, leaves)
    assert all(gradient.dtype is torch.float32 for gradient in found)
    halves = run(
        linear_cross_entropy, [tensor.detach().bfloat16() for tensor in given], targets, torch.bfloat16
    )
    assert torch.equal(loss.detach(), halves[0])


def test_what_has_no_kernel_takes_the_reference() -> None:
    given, targets = case(5, 3, 4, torch.float16)
    path, reason = linear_cross_entropy_route(given[0])
    assert (path, "not in torch.float16" in reason) == ("reference", True)
    torch.testing.assert_close(
        linear_cross_entropy(given[0], given[1], targets, given[2], reduction="sum"),
        reference(given[0], given[1], given[2], targets, None, 0.0, -100),
    )


def test_products_are_counted() -> None:
    given, targets = case(6, 3, 5)
    with FlopCounterMode(display=False) as counter:
        linear_cross_entropy(given[0].requires_grad_(), given[1].requires_grad_(), targets).backward()
    assert counter.get_total_flops() == 3 * 2 * 6 * 3 * 5


# ---- memory and determinism ----------------------------------------------------------------------


def test_the_peak_is_that_of_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_CHUNK_BYTES", 2**18)
    given, targets = case(2048, 16, 1000, torch.float32)
    leaves = [tensor.requires_grad_() for tensor in given]
    own = sum(tensor.nbytes for tensor in leaves)

    def peak(operator: Callable[..., Tensor]) -> int:
        def step() -> None:
            for leaf in leaves:
                leaf.grad = None
            operator(leaves[0], leaves[1], targets, leaves[2]).backward()

        step()
        for leaf in leaves:
            leaf.grad = None
        return peak_bytes(step)

    logits = 2048 * 1000 * 4
    assert peak(composed) > 2 * logits
    assert peak(linear_cross_entropy) < 2**18 + 3 * own < logits / 4


def test_threads_change_no_bit() -> None:
    given, targets = case(300, 8, 33, torch.float32)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(run(linear_cross_entropy, given, targets, torch.float32))
    torch.set_num_threads(before)
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, results[0], strict=True))


def test_threads_share_the_rows_of_a_large_vocabulary() -> None:
    """Each row is a task of its own; of one feature, so that nobody's products have an order to choose."""
    given, targets = case(64, 1, 2**15 + 1, torch.float32)
    before, results = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        loss, _, _, d_bias = run(linear_cross_entropy, given, targets, torch.float32)
        results.append((loss, d_bias))
    torch.set_num_threads(before)
    assert all(map(torch.equal, *results))
    exact = run(composed, given, targets, torch.float64)
    torch.testing.assert_close(results[0], (exact[0].float(), exact[3].float()))


# ---- refusals ------------------------------------------------------------------------------------


def _bad(**changed: Any) -> dict[str, Any]:
    given, targets = case(4, 3, 5)
    return {"input": given[0], "weight": given[1], "targets": targets, "bias": given[2], **changed}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"targets": torch.tensor([0, 1, 5, 2])}, IndexError, "target 5 lies outside [0, 5)"),
        ({"targets": torch.tensor([0, -1, 2, 2])}, IndexError, "target -1 lies outside"),
        ({"targets": torch.zeros(4)}, TypeError, "targets"),
        ({"targets": torch.zeros(3, dtype=torch.int64)}, ValueError, "expected input [..., H] and"),
        ({"targets": [0, 1, 2, 3]}, TypeError, "targets must be a dense strided tensor, got list"),
        ({"weight": torch.zeros(5, 2, dtype=torch.float64)}, ValueError, "with the same H"),
        ({"weight": torch.zeros(0, 3, dtype=torch.float64)}, ValueError, "V at least 1"),
        ({"weight": torch.zeros(5, 3)}, (TypeError, ValueError), "weight"),
        ({"bias": torch.zeros(4, dtype=torch.float64)}, ValueError, "bias"),
        ({"weights": torch.zeros(3)}, ValueError, "weights must be floating point"),
        ({"weights": torch.zeros(4, dtype=torch.int64)}, ValueError, "weights must be floating point"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be a probability"),
        ({"label_smoothing": "much"}, TypeError, "label_smoothing"),
        ({"reduction": "none"}, ValueError, "for the loss of each row take"),
        ({"ignore_index": 1.5}, TypeError, "ignore_index"),
        ({"ignore_index": 2**63}, ValueError, "ignore_index must be an int64"),
    ],
    ids=str,
)  # fmt: skip
def test_refusals(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        linear_cross_entropy(**_bad(**arguments))


def test_a_linear_layer_is_what_it_takes_the_place_of() -> None:
    layer, rows, targets = nn.Linear(6, 20), torch.randn(5, 2, 6), torch.randint(20, (5, 2))
    exact = F.cross_entropy(linear(rows, layer.weight, layer.bias).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(linear_cross_entropy(rows, layer.weight, targets, layer.bias), exact)
