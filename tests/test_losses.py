from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pyrnn.losses import IGNORE, last_step_weights, sequence_cross_entropy, sequence_loss

NAN, INF = math.nan, math.inf

sizes = st.integers(1, 6)


def logits_and_targets(T: int, B: int, V: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(T, B, V, generator=generator, dtype=torch.float64)
    return logits, torch.randint(V, (T, B), generator=generator)


# ---- values --------------------------------------------------------------------------------------


@given(T=sizes, B=sizes, data=st.data())
def test_loss_is_the_written_sum(T: int, B: int, data: st.DataObject) -> None:
    def numbers(shape: tuple[int, ...], low: float = -3.0) -> Tensor:
        n = math.prod(shape)
        return torch.tensor(
            data.draw(st.lists(st.floats(low, 3), min_size=n, max_size=n)), dtype=torch.float64
        ).view(shape)

    divergence = numbers((T, B))
    weights = numbers(data.draw(st.sampled_from([(T,), (T, 1), (T, B)])), low=0.25)
    lengths = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B))
    w = weights.view(T, -1).expand(T, B)
    places = [(t, b) for b in range(B) for t in range(lengths[b])]
    total = sum(w[t, b].item() * divergence[t, b].item() for t, b in places)
    share = sum(w[t, b].item() for t, b in places)

    got = sequence_loss(divergence, weights=weights, lengths=lengths, reduction="sum")
    assert got.item() == pytest.approx(total, abs=1e-12)
    terms = sequence_loss(divergence, weights=weights, lengths=torch.tensor(lengths), reduction="none")
    assert terms.shape == (T, B)
    assert terms.sum().item() == pytest.approx(total, abs=1e-12)
    if places:
        mean = sequence_loss(divergence, weights=weights, lengths=lengths)
        assert mean.item() == pytest.approx(total / share, abs=1e-12)


@settings(max_examples=40)
@given(T=sizes, B=sizes, V=sizes, smoothing=st.sampled_from([0.0, 0.1]), ignored=st.integers(0, 5))
def test_cross_entropy_is_torchs(T: int, B: int, V: int, smoothing: float, ignored: int) -> None:
    logits, targets = logits_and_targets(T, B, V)
    targets.view(-1)[1 : ignored + 1] = IGNORE
    for reduction in ("mean", "sum", "none"):
        ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
        value = sequence_cross_entropy(ours, targets, reduction=reduction, label_smoothing=smoothing)
        expected = F.cross_entropy(
            theirs.flatten(0, 1), targets.flatten(), reduction=reduction, label_smoothing=smoothing
        )
        torch.testing.assert_close(value.flatten(), expected.flatten(), rtol=1e-14, atol=1e-14)
        value.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-14, atol=1e-14)


def test_cross_entropy_of_one_sequence_after_another_equals_the_padded_batch() -> None:
    logits, targets = logits_and_targets(5, 3, 4)
    lengths = [5, 0, 2]
    alone = [
        sequence_cross_entropy(logits[:n, b : b + 1], targets[:n, b : b + 1], reduction="sum")
        for b, n in enumerate(lengths)
    ]
    targets[2:, 2] = 99  # padding is no class
    targets[:, 1] = -1
    together = sequence_cross_entropy(logits, targets, lengths=lengths, reduction="sum")
    torch.testing.assert_close(together, torch.stack(alone).sum())


def test_only_the_last_step_trains() -> None:
    logits, targets = logits_and_targets(4, 2, 3)
    logits.requires_grad_()
    weights = last_step_weights(4, [4, 2])
    loss = sequence_cross_entropy(logits, targets, weights=weights)
    ends = logits[[3, 1], [0, 1]], targets[[3, 1], [0, 1]]
    torch.testing.assert_close(loss, F.cross_entropy(*ends))
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad.abs().sum(2) > 0, weights > 0)


def test_bool_and_float_weights_agree() -> None:
    logits, targets = logits_and_targets(4, 3, 5)
    keep = torch.tensor([True, False, True, True])
    as_bool, as_float = (
        sequence_cross_entropy(logits, targets, weights=weights) for weights in (keep, keep.double())
    )
    torch.testing.assert_close(as_bool, as_float)
    torch.testing.assert_close(as_bool, sequence_cross_entropy(logits[keep], targets[keep]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_neither_overflow_nor_stall(dtype: torch.dtype) -> None:
    divergence = torch.full((300, 100), 6.0, dtype=dtype)  # sums to 180,000; 65,504 is float16's largest
    mean = sequence_loss(divergence, weights=torch.ones(300))
    assert mean.dtype == dtype
    assert mean.item() == 6.0


# ---- masked places -------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_masked_divergence_leaks_nothing(bad: float, reduction: Any) -> None:
    divergence = torch.randn(3, 2, dtype=torch.float64)
    weights = torch.rand(3, 2, dtype=torch.float64) + 0.5
    divergence[1:, 0], weights[2, 0], weights[0, 1] = bad, NAN, 0.0
    divergence[0, 1] = bad

    def loss(d: Tensor, w: Tensor) -> Tensor:
        return sequence_loss(d, weights=w, lengths=[1, 3], reduction=reduction)

    d, w = divergence.clone().requires_grad_(), weights.clone().requires_grad_()
    loss(d, w).sum().backward()
    assert d.grad is not None
    assert w.grad is not None
    assert torch.isfinite(d.grad).all()
    assert torch.isfinite(w.grad).all()
    assert d.grad[1:, 0].eq(0).all()
    assert d.grad[0, 1] == 0
    assert torch.autograd.gradcheck(lambda d: loss(d, weights), d)
    expected = [weights[t, b].item() * divergence[t, b].item() for t, b in ((0, 0), (1, 1), (2, 1))]
    got = sequence_loss(divergence, weights=weights, lengths=[1, 3], reduction="sum")
    assert got.item() == pytest.approx(sum(expected))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_masked_logits_leak_nothing(bad: float, smoothing: float) -> None:
    logits, targets = logits_and_targets(4, 3, 5)
    alive = torch.ones(4, 3, dtype=torch.bool)
    alive[2:, 0] = alive[1, 1] = alive[3, 2] = False
    weights = torch.rand(4, 3, dtype=torch.float64) + 0.5
    weights[1, 1] = 0
    targets[3, 2] = IGNORE
    spoilt = logits.masked_fill(~alive.unsqueeze(2), bad)
    results = []
    for given_logits in (logits, spoilt):
        leaf = given_logits.clone().requires_grad_()
        value = sequence_cross_entropy(
            leaf, targets, weights=weights, lengths=[2, 4, 4], label_smoothing=smoothing
        )
        results.append((value, *torch.autograd.grad(value, leaf)))
    assert torch.isfinite(results[0][0])
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert results[1][1][~alive].eq(0).all()


def test_second_derivatives() -> None:
    logits, targets = logits_and_targets(3, 2, 4)
    logits[2, 1] = NAN
    targets[2, 1] = IGNORE
    weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradgradcheck(
        lambda x: sequence_cross_entropy(x, targets, weights=weights), logits.requires_grad_()
    )


@pytest.mark.parametrize("spec", [{"lengths": [0, 0]}, {"weights": torch.zeros(3)}, {"targets": True}])
def test_a_mean_over_nothing_is_refused_and_a_sum_is_zero(spec: dict[str, Any]) -> None:
    logits, targets = logits_and_targets(3, 2, 4)
    if spec.pop("targets", False):
        targets.fill_(IGNORE)
    with pytest.raises(ValueError, match="no step counts"):
        sequence_cross_entropy(logits, targets, **spec)
    assert sequence_cross_entropy(logits, targets, reduction="sum", **spec).item() == 0


@pytest.mark.parametrize("shape", [(0, 2), (3, 0)])
def test_an_empty_batch(shape: tuple[int, int]) -> None:
    divergence = torch.zeros(shape)
    assert sequence_loss(divergence, reduction="sum").item() == 0
    assert sequence_loss(divergence, reduction="none").shape == shape
    with pytest.raises(ValueError, match="no step counts"):
        sequence_loss(divergence)


# ---- transforms ----------------------------------------------------------------------------------


def test_compiles_without_a_break() -> None:
    logits, targets = logits_and_targets(3, 2, 4)
    targets[2, 0] = IGNORE
    logits[2, 0] = NAN
    logits.requires_grad_()

    def loss(x: Tensor) -> Tensor:
        return sequence_cross_entropy(x, targets, weights=torch.ones(3), lengths=torch.tensor([3, 2]))

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits), loss(logits))
    gradients = [torch.autograd.grad(f(logits), logits)[0] for f in (compiled, loss)]
    torch.testing.assert_close(*gradients)


def test_vmap_over_models() -> None:
    logits, targets = logits_and_targets(3, 2, 4)
    several = torch.stack([logits, 2 * logits])
    got = torch.func.vmap(lambda x: sequence_cross_entropy(x, targets, lengths=[3, 1]))(several)
    expected = [sequence_cross_entropy(x, targets, lengths=[3, 1]) for x in several]
    torch.testing.assert_close(got, torch.stack(expected))


def test_meta_tensors_have_shapes() -> None:
    logits, targets = (t.to("meta") for t in logits_and_targets(3, 2, 4))
    lengths = torch.tensor([3, 9]).to("meta")
    assert sequence_cross_entropy(logits, targets, lengths=lengths).shape == ()


# ---- last step -----------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_last_step_weights_mark_each_end(lengths: list[int]) -> None:
    weights = last_step_weights(7, torch.tensor(lengths))
    marked = [[t for t in range(7) if weights[t, b]] for b in range(len(lengths))]
    assert marked == [[n - 1] if n else [] for n in lengths]


def test_last_step_weights_without_lengths() -> None:
    assert last_step_weights(3).tolist() == [[0.0], [0.0], [1.0]]
    assert last_step_weights(2, batch=2, dtype=torch.bool).tolist() == [[False, False], [True, True]]


# ---- misuse --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"divergence": torch.zeros(3)}, ValueError, r"shape \[T, B\], got \[3\]"),
        ({"divergence": torch.zeros(3, 2).long()}, TypeError, "floating point, got torch.int64"),
        ({"reduction": "max"}, ValueError, "'mean', 'sum' or 'none', got 'max'"),
        ({"weights": torch.ones(2)}, ValueError, r"T = 3 and B = 2, got \[2\]"),
        ({"weights": torch.ones(1, 2)}, ValueError, r"got \[1, 2\]"),
        ({"weights": torch.ones(3).long()}, TypeError, "floating point or bool, got torch.int64"),
        ({"weights": torch.ones(3, device="meta")}, ValueError, "weights lie on meta, the rest on cpu"),
        ({"lengths": [3]}, ValueError, r"one for each sequence, \[2\], got \[1\]"),
        ({"lengths": [3, 4]}, ValueError, r"\[0, T\] with T = 3, got values from 3 to 4"),
        ({"lengths": [-1, 3]}, ValueError, "from -1 to 3"),
        ({"lengths": [1.0, 2.0]}, TypeError, "integers, got torch.float32"),
        ({"lengths": torch.ones(2, dtype=torch.bool)}, TypeError, "integers, got torch.bool"),
    ],
)
def test_misuse_of_the_loss(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    arguments = {"divergence": torch.zeros(3, 2), **changes}
    with pytest.raises(error, match=words):
        sequence_loss(arguments.pop("divergence"), **arguments)


@pytest.mark.parametrize(
    ("logits", "targets", "error", "words"),
    [
        (torch.zeros(3, 2), torch.zeros(3).long(), ValueError, r"\[T, B, V\] .* got \[3, 2\]"),
        (torch.zeros(3, 2, 0), torch.zeros(3, 2).long(), ValueError, "V at least 1"),
        (torch.zeros(3, 2, 4), torch.zeros(2, 3).long(), ValueError, r"= \[3, 2\] .* got \[2, 3\]"),
        (torch.zeros(3, 2, 4), torch.zeros(3, 2).int(), TypeError, r"int64, got torch.int32.*\.long\(\)"),
        (torch.zeros(3, 2, 4).long(), torch.zeros(3, 2).long(), TypeError, "logits must be floating"),
        (torch.zeros(3, 2, 4), torch.full((3, 2), 4), IndexError, "4 is out of bounds"),
    ],
)
def test_misuse_of_cross_entropy(logits: Tensor, targets: Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sequence_cross_entropy(logits, targets)


def test_misuse_of_last_step_weights() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        last_step_weights(0)
    with pytest.raises(ValueError, match=r"one for each sequence, \[3\], got \[2\]"):
        last_step_weights(4, [1, 2], batch=3)
    with pytest.raises(ValueError, match="batch must be at least 0, got -1"):
        last_step_weights(4, batch=-1)


D = torch.zeros(5, 2)
LOGITS, TARGETS = torch.zeros(5, 2, 4), torch.zeros(5, 2, dtype=torch.int64)
LENGTHS = torch.tensor([5, 2])

WRONG_KINDS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (sequence_loss, ([1.0],), {}, TypeError, "divergence must be a dense strided tensor, got list"),
    (sequence_loss, (D.to_sparse(),), {}, TypeError, "divergence must be a dense strided tensor"),
    (sequence_loss, (D,), {"weights": [1.0]}, TypeError, "weights must be a dense strided tensor"),
    (sequence_loss, (D,), {"lengths": 3}, TypeError, "expected lengths to be integers"),
    (sequence_loss, (D,), {"lengths": [2**70, 1]}, TypeError, "expected lengths to be integers"),
    (sequence_loss, (D,), {"lengths": LENGTHS.to("meta")}, ValueError, "lengths must be on the CPU"),
    (sequence_loss, (D,), {"lengths": torch.nn.Parameter(LENGTHS + 1, requires_grad=False)}, ValueError,
     "from 3 to 6"),
    (sequence_cross_entropy, (LOGITS, [0]), {}, TypeError, "targets must be a dense strided tensor"),
    (sequence_cross_entropy, (None, TARGETS), {}, TypeError, "logits must be a dense strided tensor"),
    (sequence_cross_entropy, (LOGITS, TARGETS.to("meta")), {}, ValueError, "targets are not at the same"),
    (sequence_cross_entropy, (LOGITS, TARGETS), {"label_smoothing": "a"}, TypeError, "smoothing should be"),
    (last_step_weights, (2.5,), {}, TypeError, "T should be of type int, got: float"),
    (last_step_weights, (3,), {"batch": "a"}, TypeError, "batch should be of type int, got: str"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "arguments", "options", "error", "words"), WRONG_KINDS)
def test_arguments_of_another_kind_have_words(
    loss: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        loss(*arguments, **options)
