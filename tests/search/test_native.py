"""The steps that are calls of C++ against those by torch's operators, and against exact numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.models import StepOutput
from pyrnn.search import (
    Hypothesis,
    SearchConfig,
    beam,
    beam_search,
    native,
)
from pyrnn.search.native import MOST_WIDTH, NativeBeam, has_kernels, log_partition
from tests.search.decoders import HASHES, TableDecoder, TableState, sources
from tests.search.models import constant_model

EOS, BEGIN = 0, 1
INF = math.inf
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class TiedDecoder(TableDecoder):
    """Logits of which many are equal, some -inf; attention too, which follows from what was read.

    Args:
        V: vocabulary.
        seed: of the table.
        dtype: of the logits. Quarters where sums of them are exact: then equally good outputs are exactly so,
            one that has the same tokens in another order too. Of float64 a row alone has equal numbers.
        constant: whether what was read has no say.
    """

    def __init__(self, V: int, *, seed: int, dtype: torch.dtype, constant: bool) -> None:
        super().__init__(V, seed=seed, dtype=dtype)
        generator = torch.Generator().manual_seed(seed)
        quarters = torch.randint(-8, 9, (HASHES, V), generator=generator)
        table = quarters / 4
        if dtype == torch.float64:
            several = torch.randn(HASHES, 17, generator=generator, dtype=dtype)
            table = several.gather(1, quarters + 8)
        table[torch.rand(HASHES, V, generator=generator) < 0.2] = -INF
        table[torch.arange(HASHES), torch.randint(V, (HASHES,), generator=generator)] = 1
        if constant:
            table = table[:1].expand(HASHES, -1)
        self.table.data = table.to(dtype)

    def start(self, source: Any = None) -> TableState:
        return TableState(torch.zeros(len(source), dtype=torch.int64), source)

    def _predict(self, read: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor]:
        assert source is not None
        return self.table[read], (read[:, None] * source % 97) / 97


@st.composite
def _searches(draw: Any) -> dict[str, Any]:
    """The arguments of a search, the model and its state among them."""
    V = draw(st.integers(2, 40))
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    dtype = draw(
        st.sampled_from([torch.float32, torch.float32, torch.bfloat16, torch.float16, torch.float64])
    )
    model = TiedDecoder(
        V,
        seed=draw(st.integers(0, 10**6)),
        dtype=dtype,
        constant=dtype != torch.float64 and draw(st.booleans()),
    )
    source, source_lengths = sources(*[range(1, n + 1) for n in lengths])
    width, most = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    norm, alpha = draw(st.sampled_from([("none", 1.0), ("power", 0.6), ("gnmt", 1.0)]))
    tokens = st.integers(1, V - 1)
    forbidden = tokens | st.lists(tokens, min_size=2, max_size=3).map(tuple)
    config = SearchConfig(
        beam_width=width,
        n_best=draw(st.integers(1, width)),
        length_norm=norm,
        alpha=alpha,
        max_tokens=most,
        max_tokens_per_source=draw(st.sampled_from([0.0, 1.0])),
        min_tokens=draw(st.integers(0, most)),
        no_repeat_ngram=draw(st.sampled_from([0, 0, 1, 2])),
        forbidden=tuple(draw(st.lists(forbidden, max_size=2))),
    )
    prefixes = None
    if draw(st.booleans()):
        ids = st.lists(st.integers(1, V - 1), max_size=min(2, most))
        prefixes = [torch.tensor(draw(ids), dtype=torch.int64) for _ in lengths]
    return {
        "model": model,
        "prompts": [torch.tensor([BEGIN])] * len(lengths),
        "config": config,
        "eos_id": draw(st.sampled_from([EOS, EOS, None])),
        "state": model.start(source),
        "source_lengths": source_lengths,
        "prefixes": prefixes,
        "return_attention": draw(st.booleans()),
    }


def _both_ways(search: dict[str, Any]) -> tuple[Any, Any]:
    """What is found by C++ and by torch, or the error."""
    found: list[Any] = []
    for by_kernel in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not by_kernel:  # as on a GPU
                patch.setattr(beam, "has_kernels", lambda logits: False)
                patch.setattr(native, "has_kernels", lambda logits: False)
            made = _note_beams(patch)
            try:
                found.append(beam_search(**search))
            except ValueError as error:
                found.append(str(error))
            assert made == ["NativeBeam" if by_kernel else "_Beam"]
    return found[0], found[1]


def _note_beams(patch: pytest.MonkeyPatch) -> list[str]:
    """Where it is noted which kind of beam is made from now on."""
    made: list[str] = []
    for name in ("NativeBeam", "_Beam"):
        kind = getattr(beam, name)
        patch.setattr(
            beam, name, lambda *args, kind=kind, name=name, **named: made.append(name) or kind(*args, **named)
        )
    return made


def _assert_same(found: Sequence[Sequence[Hypothesis]], expected: Sequence[Sequence[Hypothesis]]) -> None:
    assert [[h.tokens for h in row] for row in found] == [[h.tokens for h in row] for row in expected]
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        assert one.finished == other.finished
        assert one.score == pytest.approx(other.score, rel=1e-6, abs=1e-6)
        assert one.log_probability == pytest.approx(other.log_probability, rel=1e-6, abs=1e-6)
        torch.testing.assert_close(one.attention, other.attention, rtol=0, atol=0)


@settings(max_examples=150)
@given(search=_searches())
def test_both_ways_find_the_same(search: dict[str, Any]) -> None:
    found, expected = _both_ways(search)
    if isinstance(expected, str):
        assert found == expected
    else:
        _assert_same(found, expected)


def test_every_instruction_set_finds_the_same(isa: str) -> None:
    for seed, dtype in enumerate([torch.float32, torch.bfloat16, torch.float64]):
        model = TiedDecoder(300, seed=seed, dtype=dtype, constant=False)
        source, lengths = sources([1, 2, 3], [4])
        config = SearchConfig(beam_width=7, n_best=7, max_tokens=6, forbidden=(2, 5, (7, 3)))
        found, expected = _both_ways(
            {
                "model": model,
                "prompts": [torch.tensor([BEGIN])] * 2,
                "config": config,
                "eos_id": EOS,
                "state": model.start(source),
                "source_lengths": lengths,
            }
        )
        _assert_same(found, expected)


def test_threads_share_the_rows_of_a_large_vocabulary() -> None:
    model = constant_model(torch.randn(30_000))
    config = SearchConfig(beam_width=8, n_best=8, max_tokens=3)
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(beam_search(model, [torch.tensor([1])] * 3, config, eos_id=EOS))
    torch.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("offset", [0, 1000, -3000])
@pytest.mark.parametrize("V", [3, 33, 5000, 40_000])
def test_probabilities_are_as_accurate_as_torchs(V: int, offset: float, isa: str) -> None:
    logits = 4 * torch.randn(V) + offset
    width = min(V, 50)
    config = SearchConfig(beam_width=width, n_best=width, max_tokens=1)
    [found] = beam_search(constant_model(logits), [torch.tensor([1])], config, eos_id=None)
    exact = logits.double().log_softmax(0)
    ids = [best.tokens[0] for best in found]
    errors = torch.tensor([best.log_probability for best in found], dtype=torch.float64) - exact[ids]
    torch_errors = logits.log_softmax(0)[ids].double() - exact[ids]
    assert errors.abs().max() <= torch_errors.abs().max()
    assert errors.abs().max() < torch.finfo(torch.float32).eps  # a unit in the last place of an exponential


def test_the_sum_does_not_depend_on_the_order() -> None:
    """So outputs of the same tokens in another order are equally good, to the bit."""
    logits = torch.randn(6)
    logits[EOS] = -9
    config = SearchConfig(beam_width=120, n_best=120, max_tokens=3, no_repeat_ngram=1)
    [found] = beam_search(constant_model(logits), [torch.tensor([1])], config, eos_id=EOS)
    groups: dict[tuple[int, ...], list[Hypothesis]] = {}
    for hypothesis in found:
        groups.setdefault(tuple(sorted(hypothesis.tokens)), []).append(hypothesis)
    assert max(map(len, groups.values())) == 6
    for same in groups.values():
        assert len({hypothesis.log_probability for hypothesis in same}) == 1


# ---- what takes which way ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "by_kernel"),
    [
        ({}, True),
        ({"dtype": torch.float16}, True),
        ({"config": SearchConfig(MOST_WIDTH, max_tokens=2)}, True),
        ({"config": SearchConfig(MOST_WIDTH + 1, max_tokens=2)}, False),
        ({"config": SearchConfig(coverage_penalty=0.1, max_tokens=2)}, False),
        ({"required": [[2]]}, False),
        ({"required": [[]]}, True),
    ],
)
def test_which_searches_are_calls_of_cpp(
    changes: dict[str, Any], by_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _note_beams(monkeypatch)
    model = TiedDecoder(9, seed=1, dtype=changes.pop("dtype", torch.float32), constant=False)
    source, lengths = sources([1, 2])
    config = changes.pop("config", SearchConfig(max_tokens=2))
    beam_search(
        model,
        [torch.tensor([BEGIN])],
        config,
        eos_id=EOS,
        state=model.start(source),
        source_lengths=lengths,
        **changes,
    )
    assert made == ["NativeBeam" if by_kernel else "_Beam"]


def test_what_has_kernels() -> None:
    assert has_kernels(torch.zeros(2, 3))
    assert has_kernels(torch.nn.Parameter(torch.zeros(2, 3)))
    assert not has_kernels(torch.zeros(2, 3, dtype=torch.int64))
    assert not has_kernels(torch.zeros(2, 3, device="meta"))
    assert not has_kernels(torch.zeros(2, 3).to_sparse())
    assert not has_kernels(torch.zeros(2, 3, dtype=torch.complex64).conj().imag)


# ---- logits of any layout, and bad ones ----------------------------------------------------------


class _Bent(TableDecoder):
    """A table decoder that bends the logits of its second step."""

    def __init__(self, bend: Any) -> None:
        super().__init__(6, dtype=torch.float32)
        self.bend, self.calls = bend, 0

    def step(
        self, tokens: Tensor, state: TableState, *, lengths: Tensor | None = None, need_weights: bool = False
    ) -> StepOutput:
        output = super().step(tokens, state, lengths=lengths, need_weights=need_weights)
        if tokens.dim() == 2:  # a prompt, or one of this method's own calls
            return output
        self.calls += 1
        return output._replace(logits=self.bend(output.logits)) if self.calls == 1 else output


@pytest.mark.parametrize(
    "bend", [lambda x: x.T.contiguous().T, lambda x: torch.cat([x, x], 1)[:, :6], lambda x: x.double()]
)
def test_logits_that_lie_otherwise(bend: Any) -> None:
    config = SearchConfig(beam_width=3, n_best=3, max_tokens=4)
    prompts = [torch.tensor([1]), torch.tensor([2, 3])]
    expected = beam_search(_Bent(lambda x: x), prompts, config, eos_id=EOS)
    for found, others in zip(beam_search(_Bent(bend), prompts, config, eos_id=EOS), expected, strict=True):
        assert [h.tokens for h in found] == [h.tokens for h in others]


def _without_memory(logits: Tensor) -> Tensor:
    logits = logits.clone()
    logits.untyped_storage().resize_(0)
    return logits


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (lambda x: x[:, :5], r"expected logits \[6, 6\] on the CPU.*got shape \[6, 5\]"),
        (lambda x: x[:5], r"expected logits \[6, 6\].*got shape \[5, 6\]"),
        (lambda x: x[None], r"got shape \[1, 6, 6\]"),
        (lambda x: x.to("meta"), "on meta"),
        (lambda x: x.long(), "expected logits"),
        (_without_memory, "has no memory behind it"),
    ],
)
def test_logits_that_do_not_fit_are_refused(bend: Any, words: str) -> None:
    config = SearchConfig(beam_width=3, max_tokens=4)
    with pytest.raises(ValueError, match=words):
        beam_search(_Bent(bend), [torch.tensor([1]), torch.tensor([2])], config, eos_id=None)


@pytest.mark.parametrize("damage", [math.nan, INF])
@pytest.mark.parametrize("place", [0, 5])
def test_damage_is_seen_in_every_row_and_place(damage: float, place: int) -> None:
    def bend(logits: Tensor) -> Tensor:
        logits = logits.clone()
        logits[-1, place] = damage
        return logits

    config = SearchConfig(beam_width=3, max_tokens=4)
    with pytest.raises(ValueError, match="the weights or the state are damaged"):
        beam_search(_Bent(bend), [torch.tensor([1]), torch.tensor([2])], config, eos_id=None)


def test_a_row_without_any_token_is_no_damage_where_rules_made_it() -> None:
    config = SearchConfig(beam_width=2, n_best=2, max_tokens=3, no_repeat_ngram=1)
    [found] = beam_search(TableDecoder(2), [torch.tensor([1])], config, eos_id=EOS)
    assert {h.tokens for h in found} == {(EOS,), (1, EOS)}


def test_bad_sizes_are_refused_by_the_module() -> None:
    config = SearchConfig(beam_width=2)
    rules: Any = None
    for changes in ({"limits": [0]}, {"vocabulary_size": 0}, {"eos_id": 9}):
        arguments: dict[str, Any] = {"eos_id": 1, "limits": [3], "vocabulary_size": 4, **changes}
        with pytest.raises(ValueError, match="pyrnn"):
            NativeBeam(config, rules=rules, source_lengths=None, keeps_attention=False, **arguments)
    wide = replace(config, beam_width=MOST_WIDTH + 1)
    with pytest.raises(ValueError, match="sizes of a beam search"):
        NativeBeam(wide, None, [3], rules, None, 4, keeps_attention=False)


@pytest.mark.parametrize("by_kernel", [True, False])
def test_the_sum_behind_the_probabilities(by_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "has_kernels", lambda logits: by_kernel)
    logits = 5 * torch.randn(4, 2, 1000)
    exact = logits.double().logsumexp(-1, keepdim=True)
    for given_logits, error in ((logits, 6e-8), (logits.double(), 1e-13)):
        largest, log_sum = log_partition(given_logits)
        assert torch.equal(largest, logits.double().amax(-1, keepdim=True))
        torch.testing.assert_close(largest + log_sum, exact, rtol=0, atol=error)
