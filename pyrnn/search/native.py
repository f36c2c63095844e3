"""Beam and greedy search on the CPU: what a step takes from the logits, in one call of C++ (csrc/search).

Dimension key: B sources that still search, K hypotheses of each (the places of the beam), N = B K rows of the
model, V vocabulary, S source tokens, T tokens written so far, L tokens of an output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._dispatch import is_readable
from pyrnn._native_args import DTYPES, contiguous
from pyrnn.models import StepOutput
from pyrnn.search.config import SearchConfig
from pyrnn.search.filtering import float_logits, why_not_finite
from pyrnn.search.hypotheses import Hypothesis, Next
from pyrnn.search.restrictions import Restrictions, unread_history

#: The widest beam that has a kernel.
MOST_WIDTH: int = _native.cpu.most_beam_width
_GRID = 2.0**32  # as in csrc/search/cpu/engine.cpp


def has_kernels(logits: Tensor) -> bool:
    """Whether logits are numbers in this machine's memory, of a dtype that is taken as it is or as float32.

    Example:
        >>> has_kernels(torch.zeros(2, 5)), has_kernels(torch.zeros(2, 5, device="meta"))
        (True, False)
    """
    return (
        logits.is_floating_point()
        and logits.layout is torch.strided
        and is_readable(logits)
        and not logits.is_neg()
    )


def likeliest_tokens(logits: Tensor, banned: Sequence[int] = ()) -> Tensor | None:
    """The likeliest token [N] of each row of logits [N, V], of equal ones the lowest.

    None where `likeliest` has to say what is wrong, if anything is: a logit is not finite, or none is left.

    Args:
        logits: such that `has_kernels`.
        banned: ids that are not taken.

    Example:
        >>> likeliest_tokens(torch.tensor([[0.0, 2.0, 2.0]]), [1])
        tensor([2])
    """
    logits = _as_stored(logits)
    N, V = logits.shape
    tokens = torch.empty(N, dtype=torch.int64)
    sound = _native.cpu.likeliest_tokens(
        DTYPES[logits.dtype], logits.data_ptr(), N, V, banned, tokens.data_ptr(), _native.num_threads()
    )
    return tokens if sound else None


def log_partition(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Largest of logits [..., V], and log sum_v exp(logits - largest): [..., 1] float64 each.

    So that log p = (logits - largest) - log sum. That sum's logarithm has an error of 1e-8 for float32 and
    is rounded to a finer grid, on which sums of log-probabilities are exact, whatever their order: outputs
    that are equally good stay so.

    Args:
        logits: float32 or float64, on any device; where it `has_kernels`, by the same one as `NativeBeam`.

    Example:
        >>> largest, log_sum = log_partition(torch.zeros(1, 8))
        >>> log_sum.exp()
        tensor([[8.0000]], dtype=torch.float64)
    """
    if not has_kernels(logits):
        largest = logits.amax(-1, keepdim=True)
        log_sum = (logits - largest).exp_().sum(-1, keepdim=True, dtype=torch.float64).log_()
        if logits.dtype != torch.float64:
            log_sum.mul_(_GRID).round_().div_(_GRID)
        return largest.double(), log_sum
    logits = contiguous(logits)
    V = logits.shape[-1]
    largest, log_sum = torch.empty(2, *logits.shape[:-1], 1, dtype=torch.float64)
    _native.cpu.log_partition(
        DTYPES[logits.dtype],
        logits.data_ptr(),
        largest.numel(),
        V,
        largest.data_ptr(),
        log_sum.data_ptr(),
        _native.num_threads(),
    )
    return largest, log_sum


class NativeBeam:
    """The hypotheses of one search; what it does is said in `pyrnn.search.beam`.

    Args:
        config: without a coverage penalty, `beam_width` at most `MOST_WIDTH`.
        eos_id: the token that ends an output, if one does.
        limits: the most tokens of each of the B outputs.
        rules: what may be written.
        source_lengths: [B], beyond which attention is cut off.
        vocabulary_size: V of the logits.
        keeps_attention: whether hypotheses have it.
    """

    def __init__(
        self,
        config: SearchConfig,
        eos_id: int | None,
        limits: Sequence[int],
        rules: Restrictions,
        source_lengths: Tensor | None,
        vocabulary_size: int,
        *,
        keeps_attention: bool,
    ) -> None:
        self.keeps_attention = keeps_attention
        self.config, self.eos_id, self.V = config, eos_id, vocabulary_size
        self._beam = _native.cpu.Beam(
            config.beam_width,
            config.n_best,
            -1 if eos_id is None else eos_id,
            vocabulary_size,
            limits,
            [config.norm(limit) for limit in limits],
        )
        self._rules = self._rules_of_all = rules
        self._source_lengths = source_lengths
        self._length = 0
        self._written = torch.empty(len(limits), 0, dtype=torch.int64)  # [N, T], if the rules read it
        self._attention: list[Tensor] = []  # [N, S] of each step

    def advance(self, output: StepOutput) -> Next | None:
        """What to read next; None when all ended."""
        if not has_kernels(output.logits) or output.logits.shape != (self._beam.rows, self.V):
            raise ValueError(
                f"expected logits [{self._beam.rows}, {self.V}] on the CPU as in the steps before, got shape "
                f"{list(output.logits.shape)} on {output.logits.device}"
            )
        raw = _as_stored(output.logits)
        allowed, banned = self._allowed(raw)
        if self.keeps_attention and output.attention is not None:
            self._attention.append(output.attention)
        self._length += 1
        most, before = self._beam.most_rows, (self._beam.rows, len(self._beam.searching))
        tokens, rows = torch.empty(most, dtype=torch.int64), torch.empty(most, dtype=torch.int64)
        count, stays, health = self._beam.advance(
            DTYPES[raw.dtype],
            raw.data_ptr(),
            allowed.data_ptr(),
            banned,
            self.config.norm(self._length),
            tokens.data_ptr(),
            rows.data_ptr(),
            _native.num_threads(),
        )
        if not math.isfinite(health):
            raise ValueError(why_not_finite(torch.tensor(health)))
        if count == 0:
            return None
        if count < most:
            tokens, rows = tokens[:count], rows[:count]
        if self._rules.reads_history:
            self._written = torch.cat([self._written[rows], tokens.unsqueeze(1)], 1)
        if self._rules_of_all.prefixes is not None:
            self._rules = self._rules_of_all.select(torch.tensor(self._beam.searching))
        within = (count, len(self._beam.searching)) == before
        return Next(tokens, None if stays else rows, within)

    def results(self) -> list[list[Hypothesis]]:
        """The `n_best` ended hypotheses of each source, best first; of equal ones the shorter first."""
        found = self._beam.found()
        attention = self._attention_of([rows for outputs in found for *_, rows in outputs])
        lengths = None if self._source_lengths is None else self._source_lengths.tolist()
        results: list[list[Hypothesis]] = []
        for number, outputs in enumerate(found):
            length = None if lengths is None else lengths[number]
            results.append([])
            for score, log_probability, tokens, _ in outputs:
                weights = next(attention)
                results[-1].append(
                    Hypothesis(
                        tokens=tokens,
                        score=score,
                        log_probability=log_probability,
                        finished=tokens[-1] == self.eos_id,
                        attention=None if weights is None else weights[:, :length],
                    )
                )
        return results

    def _allowed(self, raw: Tensor) -> tuple[Tensor, list[int]]:
        """Logits [B, K, V] or [N, V] of what may come next, and ids that may not in any row."""
        T, rules = self._length, self._rules
        if not rules.asks_rows(T):
            return raw, rules.never_next(T)
        B = len(self._beam.searching)
        K = len(raw) // B
        written = self._written.view(B, K, T) if rules.reads_history else unread_history(B, K, T)
        return contiguous(rules.apply(raw.view(B, K, -1), written)), []

    def _attention_of(self, paths: Sequence[Sequence[int]]) -> Iterator[Tensor | None]:
        """[L, S] of each output, which took the rows `paths[i]` [L] of the steps."""
        if not paths or not self._attention or len(self._attention) < self._length:
            yield from (None for _ in paths)
            return
        S = self._attention[0].shape[1]
        whole = self._attention[0].new_zeros(len(paths), max(map(len, paths)), S)
        for t in range(whole.shape[1]):  # of all outputs at once
            longer = [i for i, path in enumerate(paths) if t < len(path)]
            whole[longer, t] = self._attention[t][[paths[i][t] for i in longer]]
        yield from (part[: len(path)].clone() for part, path in zip(whole, paths, strict=True))


def _as_stored(logits: Tensor) -> Tensor:
    """The logits row by row, in a dtype that has kernels."""
    return contiguous(logits if logits.dtype in _native.DTYPES["cpu"] else float_logits(logits))
