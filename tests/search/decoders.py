"""Small decoders that are tables, and searches of them by the definition, one hypothesis at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from pyrnn.models import StepOutput
from pyrnn.search import Decoder, Hypothesis, SearchConfig
from pyrnn.search.hypotheses import coverage_score

#: Numbers that what was read is hashed to: enough that no two short outputs share a probability.
HASHES = 1009

#: How a search may divide log-probabilities.
NORMS = st.sampled_from([("none", 1.0), ("power", 1.0), ("power", 0.5), ("gnmt", 0.6), ("gnmt", 2.0)])


def hash_of(tokens: Sequence[int]) -> int:
    """What has been read, as the row of a table."""
    read = 0
    for token in tokens:
        read = (31 * read + token + 1) % HASHES
    return read


@dataclass(frozen=True)
class TableState:
    """A hash of what each row has read, and its source."""

    read: Tensor
    source: Tensor | None = None

    def select(self, rows: Tensor | slice) -> TableState:
        if self.source is not None:
            return TableState(self.read[rows], self.source[rows])
        return self if len(self.read) == 0 else TableState(self.read[rows])

    def select_within(self, rows: Tensor) -> TableState:
        """Keeps the source, so that whoever calls it for rows that change theirs goes wrong."""
        assert len(rows) == len(self.read)
        return replace(self, read=self.read[rows])


class TableDecoder(nn.Module):
    """p(next | all before) is looked up by a hash of all before; rows whose state is not theirs go wrong."""

    def __init__(self, vocabulary_size: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        table = 2 * torch.randn(HASHES, vocabulary_size, generator=generator, dtype=torch.float64)
        self.table = nn.Parameter(table.to(dtype))

    @property
    def vocabulary_size(self) -> int:
        return self.table.shape[1]

    def start(self, source: Any = None) -> TableState:
        return TableState(torch.empty(0, dtype=torch.int64))

    def step(
        self, tokens: Tensor, state: TableState, *, lengths: Tensor | None = None, need_weights: bool = False
    ) -> StepOutput:
        if tokens.dim() == 1:
            output = self.step(tokens.unsqueeze(1), state, need_weights=need_weights)
            attention = None if output.attention is None else output.attention[:, 0]
            return StepOutput(output.logits[:, 0], output.state, attention)
        N, T = tokens.shape
        read = state.read if len(state.read) else torch.zeros(N, dtype=torch.int64)
        counts = torch.full((N,), T) if lengths is None else lengths
        logits, attention = [], []
        for t in range(T):
            read = torch.where(t < counts, (31 * read + tokens[:, t] + 1) % HASHES, read)
            scores, weights = self._predict(read, state.source)
            logits.append(scores)
            attention.append(weights)
        return StepOutput(
            torch.stack(logits, 1),
            replace(state, read=read),
            torch.stack(attention, 1) if need_weights and attention[0] is not None else None,
        )

    def _predict(self, read: Tensor, source: Tensor | None) -> tuple[Tensor, Any]:
        return self.table[read], None


class SourceDecoder(TableDecoder):
    """A table decoder whose logits also depend on the source token that it attends to; 0 is padding."""

    def start(self, source: Any = None) -> TableState:
        return TableState(torch.zeros(len(source), dtype=torch.int64), source)

    def _predict(self, read: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor]:
        assert source is not None
        places = torch.arange(source.shape[1])
        scores = self.table[(read[:, None] + places) % HASHES, source % self.vocabulary_size]
        attention = scores.masked_fill(source == 0, -math.inf).softmax(-1)
        context = (attention.unsqueeze(-1) * self.table[source % HASHES]).sum(1)
        return self.table[read] + context, attention


def sources(*rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Padded sources and their lengths."""
    lengths = torch.tensor([len(row) for row in rows])
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True), lengths


@dataclass(frozen=True)
class Rules:
    """What an output must satisfy beyond its configuration, for the searches here."""

    config: SearchConfig
    limit: int
    eos_id: int | None = None
    prefix: tuple[int, ...] = ()
    required: frozenset[tuple[int, ...]] = frozenset()

    def allows(self, written: tuple[int, ...], token: int) -> bool:
        T, config = len(written), self.config
        if len(self.prefix) > T:
            return token == self.prefix[T]
        whole = (*written, token)
        if any(whole[-len(phrase) :] == phrase for phrase in map(_as_phrase, config.forbidden)):
            return False
        if token == self.eos_id and config.min_tokens > T + 1:
            return False
        ends = token == self.eos_id or self.limit == T + 1
        if ends and not all(_has(whole, phrase) for phrase in self.required):
            return False
        n = config.no_repeat_ngram
        return not (n and whole[-n:] in [whole[i : i + n] for i in range(T + 1 - n)])


def _as_phrase(phrase: Any) -> tuple[int, ...]:
    return (phrase,) if isinstance(phrase, int) else tuple(phrase)


def _has(whole: tuple[int, ...], phrase: tuple[int, ...]) -> bool:
    """Whether the phrase stands in it, by trying every place."""
    return any(whole[i : i + len(phrase)] == phrase for i in range(len(whole)))


@dataclass(frozen=True)
class Partial:
    """A hypothesis of the searches here: what was written, what comes next and how likely."""

    tokens: tuple[int, ...]
    log_probability: float
    output: StepOutput
    attention: tuple[Tensor, ...] = ()

    def following(self) -> Tensor:
        return self.output.logits[0].double().log_softmax(0)


def _extend(model: Decoder, partial: Partial, token: int, *, ends: bool) -> Partial:
    attention = partial.output.attention
    return Partial(
        (*partial.tokens, token),
        partial.log_probability + partial.following()[token].item(),
        partial.output if ends else _step(model, token, partial.output.state),
        partial.attention if attention is None else (*partial.attention, attention[0]),
    )


def _hypothesis(partial: Partial, rules: Rules, source_length: int | None) -> Hypothesis:
    config, L = rules.config, len(partial.tokens)
    norm = {"none": 1.0, "power": L**config.alpha, "gnmt": ((5 + L) / 6) ** config.alpha}[config.length_norm]
    score, attention = partial.log_probability / norm, None
    if partial.attention:
        attention = torch.stack(partial.attention)[:, :source_length]
        if config.coverage_penalty:
            score += config.coverage_penalty * coverage_score(attention.sum(0)[None]).item()
    finished = partial.tokens[-1] == rules.eos_id
    return Hypothesis(partial.tokens, score, partial.log_probability, finished, attention)


def _start(model: Decoder, prompt: Tensor, source: Tensor | None) -> Partial:
    state = model.start() if source is None else model.start(source.unsqueeze(0))
    for token in prompt.tolist():
        output = _step(model, token, state)
        state = output.state
    return Partial((), 0.0, output)


def _step(model: Decoder, token: int, state: Any) -> StepOutput:
    return model.step(torch.tensor([token]), state, need_weights=True)


@torch.no_grad()
def every_output(
    model: Decoder, prompt: Tensor, rules: Rules, source: Tensor | None = None
) -> list[Hypothesis]:
    """All outputs that the rules allow, best first."""
    length = None if source is None else int((source != 0).sum())

    def expand(partial: Partial) -> Iterator[Hypothesis]:
        for token in range(model.vocabulary_size):
            if rules.allows(partial.tokens, token):
                ends = token == rules.eos_id or len(partial.tokens) + 1 == rules.limit
                longer = _extend(model, partial, token, ends=ends)
                if ends:
                    yield _hypothesis(longer, rules, length)
                else:
                    yield from expand(longer)

    found = expand(_start(model, prompt, source))
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


@torch.no_grad()
def patient_beam(
    model: Decoder, prompt: Tensor, rules: Rules, source: Tensor | None = None
) -> list[Hypothesis]:
    """Beam search of one source that goes on until no hypothesis is live, whatever was found."""
    length = None if source is None else int((source != 0).sum())
    live, ended = [_start(model, prompt, source)], []
    while live:
        candidates = [
            (partial.log_probability + following[token], place, token)
            for place, partial in enumerate(live)
            for following in [partial.following().tolist()]
            for token in range(model.vocabulary_size)
            if rules.allows(partial.tokens, token)
        ]
        candidates.sort(key=lambda candidate: (-candidate[0], *candidate[1:]))
        continued = []
        for _, place, token in candidates[: rules.config.beam_width - len(ended)]:
            ends = token == rules.eos_id or len(live[place].tokens) + 1 == rules.limit
            (ended if ends else continued).append(_extend(model, live[place], token, ends=ends))
        live = continued
    found = [_hypothesis(partial, rules, length) for partial in ended]
    return sorted(found, key=lambda hypothesis: -hypothesis.score)[: rules.config.n_best]


def assert_same(found: list[Hypothesis], expected: list[Hypothesis], *, within: float = 1e-9) -> None:
    """Hypotheses of the same tokens and, but for rounding, scores."""
    assert [h.tokens for h in found] == [h.tokens for h in expected]
    assert [h.finished for h in found] == [h.finished for h in expected]
    for name in ("score", "log_probability"):
        numbers, exact = ([getattr(h, name) for h in hypotheses] for hypotheses in (found, expected))
        assert numbers == pytest.approx(exact, rel=within, abs=within)
    for one, other in zip(found, expected, strict=True):
        if other.attention is None:
            assert one.attention is None
        else:
            torch.testing.assert_close(one.attention, other.attention)
