"""Conditional random fields: numbers, gradients, extremes, lengths, transforms, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.library import opcheck

from pyrnn import reference
from pyrnn.ops import crf_log_partition, crf_route, crf_viterbi
from tests.helpers import assert_as_accurate

NAMES = ("log_z", "d_emissions", "d_transitions", "d_start", "d_end")


class Chain(NamedTuple):
    """The tensors of a call, without lengths."""

    emissions: Tensor
    transitions: Tensor
    start: Tensor | None
    end: Tensor | None

    def to(self, dtype: torch.dtype) -> Chain:
        return Chain._make(None if x is None else x.detach().to(dtype, copy=True) for x in self)

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(x for x in self if x is not None)


def drawn(T: int, B: int, C: int, *, scale: float = 1.0, ends: bool = True, seed: int = 0) -> Chain:
    generator = torch.Generator().manual_seed(seed)

    def new(*shape: int) -> Tensor:
        return scale * torch.randn(shape, generator=generator, dtype=torch.float64)

    return Chain(new(T, B, C), new(C, C), new(C) if ends else None, new(C) if ends else None)


def lengths_of(T: int, B: int) -> Tensor:
    """Every length from T down to 0, again and again, not in order."""
    return torch.tensor([(T - 3 * b) % (T + 1) for b in range(B)])


def by_torch(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor | None,
    end: Tensor | None,
    lengths: Tensor | None = None,
) -> Tensor:
    """The loop over time that users write, with torch.logsumexp; sums in float32 for bfloat16."""
    wide = torch.promote_types(emissions.dtype, torch.float32)
    T, B, C = emissions.shape
    zeros = transitions.new_zeros(C)
    state = emissions[0].to(wide) + (zeros if start is None else start).to(wide)
    lengths = torch.full((B,), T) if lengths is None else lengths
    for t in range(1, T):
        after = torch.logsumexp(state.unsqueeze(2) + transitions.to(wide), 1) + emissions[t].to(wide)
        state = torch.where((t < lengths).unsqueeze(1), after, state)
    total = torch.logsumexp(state + (zeros if end is None else end).to(wide), 1)
    return torch.where(lengths > 0, total, total * 0)


def ours(*tensors: Any) -> Tensor:
    *chain, lengths = tensors if len(tensors) == 5 else (*tensors, None)
    return crf_log_partition(*chain, lengths=lengths)


def run(operator: Callable[..., Tensor], chain: Chain, lengths: Tensor | None) -> tuple[Tensor, ...]:
    """Results and gradients."""
    chain = Chain._make(None if x is None else x.detach().clone().requires_grad_() for x in chain)
    found = operator(*chain, lengths)
    upstream = torch.linspace(-1, 2, found.numel(), dtype=torch.float64).to(found.dtype)
    return found.detach(), *torch.autograd.grad(
        found, chain.leaves, upstream, allow_unused=True, materialize_grads=True
    )


def brute_force(chain: Chain, length: int, row: int) -> dict[tuple[int, ...], float]:
    """The score of every path of one row."""
    emissions, transitions, start, end = chain.to(torch.float64)
    C = transitions.shape[0]
    scores = {}
    for path in itertools.product(range(C), repeat=length):
        score = sum(emissions[t, row, tag].item() for t, tag in enumerate(path))
        score += sum(transitions[a, b].item() for a, b in itertools.pairwise(path))
        score += start[path[0]].item() + end[path[-1]].item() if start is not None and end is not None else 0
        scores[path] = score
    return scores


# ---- numbers -------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_every_path_is_counted(T: int, B: int, C: int, seed: int) -> None:
    chain = drawn(T, B, C, scale=2.0, seed=seed)
    lengths = torch.tensor([T] + [1 + b % T for b in range(B - 1)])
    log_z = ours(*chain, lengths)
    tags, scores = crf_viterbi(*chain, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        paths = brute_force(chain, length, row)
        expected = torch.tensor(list(paths.values()), dtype=torch.float64)
        torch.testing.assert_close(log_z[row], expected.logsumexp(0))
        best = max(paths, key=lambda path: paths[path])
        assert tuple(tags[:length, row].tolist()) == best
        torch.testing.assert_close(scores[row], expected.max())
        assert not tags[length:, row].any()


#: T, B, C around vectors, tiles and blocks of rows, and one that has several groups of sums.
SIZES = [(1, 1, 1), (2, 3, 2), (7, 9, 5), (5, 2, 17), (6, 17, 33), (30, 5, 64), (3, 300, 9)]


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "plain"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_as_accurate_as_a_loop_of_torch(
    isa: str, dtype: torch.dtype, size: tuple[int, int, int], ends: bool
) -> None:
    T, B, _ = size
    chain, lengths = drawn(*size, ends=ends).to(dtype), lengths_of(T, B)
    exact = run(by_torch, chain.to(torch.float64), lengths)
    found, theirs = (run(operator, chain, lengths) for operator in (ours, by_torch))
    if dtype is torch.float64:
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(run(reference.crf_log_partition, chain, lengths), exact)
        return
    assert_as_accurate(found, theirs, exact, names=NAMES)
    without = run(ours, chain, None)
    assert_as_accurate(without, run(by_torch, chain, None), run(by_torch, chain.to(torch.float64), None))


def test_marginals_of_a_long_sequence_are_probabilities(isa: str) -> None:
    chain = drawn(4000, 2, 6, scale=3.0).to(torch.float32)
    _, d_emissions, d_transitions, *_ = run(lambda *a: ours(*a), chain, None)
    ones = torch.tensor([-1.0, 2.0]).expand(4000, 2)
    torch.testing.assert_close(d_emissions.sum(2), ones, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(d_transitions.sum(), torch.tensor(3999.0), rtol=1e-5, atol=0)


def test_threads_and_neighbours_change_no_bit() -> None:
    chain, lengths = drawn(40, 70, 24).to(torch.float32), lengths_of(40, 70)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append((*run(ours, chain, lengths), *crf_viterbi(*chain, lengths=lengths)))
    torch.set_num_threads(before)
    for again in results[1:]:
        assert all(map(torch.equal, again, results[0]))
    alone = ours(chain.emissions[:, 5:6], *chain[1:], lengths[5:6])
    assert torch.equal(alone, results[0][0][5:6])


# ---- extremes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-30, 30.0, 300.0, 1e9, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_extreme_scores(isa: str, dtype: torch.dtype, scale: float) -> None:
    chain = drawn(9, 4, 11, scale=scale).to(dtype)
    exact = run(by_torch, chain.to(torch.float64), None)
    found, theirs = (run(operator, chain, None) for operator in (ours, by_torch))
    if dtype is torch.float64:
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)
    else:
        assert_as_accurate(found, theirs, exact, names=NAMES)


def test_a_state_that_had_vanished_comes_back(isa: str) -> None:
    """Tag 1 is e^-500 as likely as tag 0 until the end, where only tag 1 may stand."""
    emissions = torch.zeros(6, 1, 2)
    emissions[:, :, 1] = -100.0
    chain = Chain(emissions, torch.zeros(2, 2), torch.zeros(2), torch.tensor([-torch.inf, 0.0]))
    stay = chain._replace(transitions=torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]]))
    assert ours(*stay).item() == -600.0
    tags, score = crf_viterbi(*stay)
    assert (tags.flatten().tolist(), score.item()) == ([1] * 6, -600.0)
    found = run(ours, stay, None)
    torch.testing.assert_close(found[1], torch.tensor([0.0, -1.0]).expand(6, 1, 2))
    torch.testing.assert_close(found[2], torch.tensor([[0.0, 0.0], [0.0, -5.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_what_is_forbidden_has_no_part(isa: str, dtype: torch.dtype) -> None:
    chain = drawn(8, 5, 19).to(dtype)
    mask = torch.rand(19, 19, generator=torch.Generator().manual_seed(1)) < 0.7
    mask[:, 4] = True  # nothing leads to tag 4
    chain.transitions.masked_fill_(mask, -torch.inf)
    chain.emissions[3, 2, :18] = -torch.inf  # one tag alone is left there
    found = run(ours, chain, None)
    exact = run(reference.crf_log_partition, chain.to(torch.float64), None)
    assert all(x.isfinite().all() for x in found)
    assert not found[2][mask].any()
    rtol, atol = (2e-2, 1e-3) if dtype is torch.bfloat16 else (1e-5, 1e-6)
    torch.testing.assert_close([x.double() for x in found], list(exact), rtol=rtol, atol=atol)


def test_without_any_path_there_is_nothing_to_derive(isa: str) -> None:
    chain = drawn(5, 3, 4).to(torch.float32)
    chain.emissions[2, 1] = -torch.inf
    for operator in (ours, reference.crf_log_partition):
        log_z, *grads = run(operator, chain, None)
        assert (log_z == -torch.inf).tolist() == [False, True, False]
        assert all(x.isfinite().all() for x in grads)
        assert not grads[0][:, 1].any()


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_number_that_is_none_stays_in_its_row(isa: str, number: float) -> None:
    chain = drawn(6, 4, 9).to(torch.float32)
    clean = run(ours, chain, None)
    chain.emissions[3, 2, 5] = number
    log_z, d_emissions, *_ = run(ours, chain, None)
    assert torch.equal(log_z[[0, 1, 3]], clean[0][[0, 1, 3]])
    assert torch.equal(d_emissions[:, [0, 1, 3]], clean[1][:, [0, 1, 3]])
    torch.testing.assert_close(log_z[2], torch.tensor(number), equal_nan=True)
    assert d_emissions[:, 2].isnan().any()


def test_what_is_behind_a_length_is_not_read(isa: str) -> None:
    chain, lengths = drawn(9, 11, 7).to(torch.float32), lengths_of(9, 11)
    clean = (*run(ours, chain, lengths), *crf_viterbi(*chain, lengths=lengths))
    for row, length in enumerate(lengths.tolist()):
        chain.emissions[length:, row] = torch.nan
    again = (*run(ours, chain, lengths), *crf_viterbi(*chain, lengths=lengths))
    assert all(map(torch.equal, again, clean))
    assert clean[0][lengths == 0].eq(0).all()


def test_equal_paths_have_the_lower_tags(isa: str) -> None:
    tags, scores = crf_viterbi(torch.zeros(4, 2, 21), torch.zeros(21, 21))
    assert not tags.any()
    assert not scores.any()
    as_reference = reference.crf_viterbi(torch.zeros(4, 2, 21), torch.zeros(21, 21))[0]
    assert torch.equal(tags, as_reference)


def test_paths_are_those_of_the_reference(isa: str) -> None:
    chain, lengths = drawn(12, 20, 37).to(torch.float32), lengths_of(12, 20)
    found, expected = crf_viterbi(*chain, lengths=lengths), reference.crf_viterbi(*chain, lengths)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


@pytest.mark.parametrize("size", [(0, 3, 4), (5, 0, 4), (0, 0, 1)])
def test_sizes_of_zero(size: tuple[int, int, int]) -> None:
    chain = drawn(*size)
    found = run(ours, chain, None)
    assert not any(x.any() for x in found)
    assert [x.shape for x in found[1:]] == [x.shape for x in chain.leaves]
    for dtype in (torch.float64, torch.float16):  # the kernel and the reference
        assert crf_viterbi(*chain.to(dtype))[0].shape == size[:2]


def test_views_are_read_where_they_lie() -> None:
    chain = drawn(6, 5, 8)
    for emissions in (
        drawn(5, 6, 8).emissions.transpose(0, 1),
        drawn(6, 5, 9).emissions[..., 1:],
        drawn(8, 5, 6).emissions.transpose(0, 2),
        drawn(6, 1, 8).emissions.expand(6, 5, 8),
    ):
        found = run(ours, chain._replace(emissions=emissions), None)
        again = run(ours, chain._replace(emissions=emissions.contiguous()), None)
        assert all(map(torch.equal, found, again))


# ---- derivatives and transforms ------------------------------------------------------------------


def test_gradcheck_and_gradgradcheck() -> None:
    lengths = torch.tensor([4, 2, 0])
    chain = [x.requires_grad_() for x in drawn(4, 3, 3).leaves]
    assert torch.autograd.gradcheck(lambda *a: ours(*a, lengths), chain)
    assert torch.autograd.gradgradcheck(lambda *a: ours(*a, lengths), chain)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_functorch() -> None:
    chain, tangent = drawn(4, 3, 5), drawn(4, 3, 5, seed=1).emissions
    both = (ours, reference.crf_log_partition)

    def by(f: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: f(x, *chain[1:], None).sin().sum()

    torch.testing.assert_close(*(grad(by(f))(chain.emissions) for f in both))
    torch.testing.assert_close(*(jvp(by(f), (chain.emissions,), (tangent,)) for f in both))
    samples = torch.stack([chain.emissions, tangent])
    torch.testing.assert_close(*(vmap(grad(by(f)))(samples) for f in both))


def test_opcheck() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        chain = [x.requires_grad_() for x in drawn(4, 3, 5).to(dtype).leaves]
        opcheck(torch.ops.pyrnn.crf_log_partition.default, (*chain, torch.tensor([4, 1, 0])))


def test_compiled_in_one_graph() -> None:
    torch.compiler.reset()
    chain = drawn(5, 2, 6)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(compiled, chain, None), run(ours, chain, None))


# ---- routes and refusals -------------------------------------------------------------------------


def test_route() -> None:
    assert crf_route(torch.zeros(1)).path == "native"
    assert "float16" in crf_route(torch.zeros(1, dtype=torch.float16)).reason
    chain = drawn(4, 2, 3)
    half = ours(*chain.to(torch.float16))
    assert half.dtype is torch.float32
    torch.testing.assert_close(half, ours(*chain).float(), rtol=1e-2, atol=1e-2)
    assert crf_viterbi(*chain.to(torch.float16))[0].shape == (4, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"emissions": torch.zeros(3, 2, 4).long()}, TypeError, "must be floating point, got torch.int64"),
        ({"emissions": torch.zeros(3, 4)}, ValueError, r"emissions must have shape \[T, B, C\]"),
        ({"emissions": torch.zeros(3, 2, 0)}, ValueError, "with C at least 1"),
        ({"transitions": torch.zeros(4, 3)}, ValueError, r"transitions must have shape .* = \[4, 4\]"),
        ({"transitions": None}, TypeError, "transitions must be a dense strided tensor, got NoneType"),
        ({"start": torch.zeros(3)}, ValueError, r"start must have shape .* = \[4\], got \[3\]"),
        ({"end": torch.zeros(4).double()}, ValueError, "expected torch.float32 for end"),
        ({"start": torch.zeros(4, device="meta")}, ValueError, "not at the same device"),
        ({"lengths": [4, 1]}, ValueError, r"lengths must lie in \[0, T\] with T = 3"),
        ({"lengths": [1, -1]}, ValueError, "got values from -1 to 1"),
        ({"lengths": [1]}, ValueError, r"lengths must have shape .* got \[1\]"),
        ({"lengths": [1.0, 2.0]}, TypeError, "expected lengths to be integers"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("operator", [crf_log_partition, crf_viterbi])
def test_refusals(operator: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"emissions": torch.zeros(3, 2, 4), "transitions": torch.zeros(4, 4), **arguments}
    with pytest.raises(error, match=message):
        operator(**given)
