"""Phrases that every output must contain, in places of the beam that are kept for them.

Dimension key: B sources, K places of the beam, X continuations of each, C required phrases, P tokens of the
longest, A distinct tokens of them, V vocabulary, M candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pyrnn.search.config import Phrase
from pyrnn.search.filtering import top_candidates
from pyrnn.search.phrases import Tokens, as_phrases, contains, savings, without_parts
from pyrnn.search.prompt_error import PromptError

_NO_TOKEN, _NO_LETTER = -1, -2  # distinct, so that one is never the other


class Candidates(NamedTuple):
    """Continuations of each hypothesis: logits, ids, and how many required tokens are missing after each."""

    logits: Tensor
    ids: Tensor
    missing: Tensor


@dataclass(frozen=True)
class RequiredPhrases:
    """Which phrases the hypotheses still lack, and how much of each is written; a token is a phrase of one.

    What is missing of a hypothesis is the least number of tokens in which it can be completed, phrases that
    overlap written one into another. A hypothesis may not end while any is missing, nor take a token after
    which more are missing than it has left: so whatever ends is complete, whatever the width, and no output
    is lost. For the likeliest way to place the phrases, a beam must not be filled by hypotheses that put them
    off: hypotheses that lack equally many tokens form a bank, and the places are dealt to the banks in turn,
    the one that lacks least first, in each the best first.

    All beginnings of phrases that the last tokens spell are kept, as bits: the states of the automaton of
    Knuth, Morris and Pratt without its table.

    Sources: banks: Hokamp and Liu, "Lexically constrained decoding", 2017; places shared among them: Post and
    Vilar, "Fast lexically constrained decoding with dynamic beam allocation", 2018, section 3; bits:
    Baeza-Yates and Gonnet, "A new approach to text searching", 1992.

    Args:
        ids: [B, C, P] int64, -1 behind the end of each phrase.
        bits: [B, C] int64, see `pyrnn.search.phrases.savings`.
        saved: [B, m, C] int64, likewise.
        alphabet: [B, A] int64, the distinct tokens of a source's phrases, -2 behind them.
        begun: [B, K, C, P] bool, whether the last p + 1 tokens written are the first of a phrase.
        met: [B, K, C] bool, which phrases are written, or are none.

    Example:
        >>> fresh = require([[(3, 1)]], torch.device("cpu"))
        >>> begun = fresh.follow(torch.tensor([[0]]), torch.tensor([[3]]))
        >>> fresh.missing.tolist(), begun.missing.tolist()
        ([[2]], [[1]])
        >>> begun.restrict(torch.zeros(1, 1, 4), left=torch.tensor([1]), eos_id=0)
        tensor([[[-inf, 0., -inf, -inf]]])
    """

    ids: Tensor
    bits: Tensor
    saved: Tensor
    alphabet: Tensor
    begun: Tensor
    met: Tensor

    @cached_property
    def missing(self) -> Tensor:
        """[B, K] int64, the fewest tokens in which each hypothesis can be completed."""
        return self._missing(self.begun.unsqueeze(2), self.met.unsqueeze(2)).squeeze(2)

    def restrict(self, logits: Tensor, *, left: Tensor, eos_id: int | None) -> Tensor:
        """Logits [B, K, V] with -inf where an output would end incomplete.

        Args:
            logits: of the next token.
            left: [B] tokens that each output may still have, that one included.
            eos_id: the token that ends an output, if one does.
        """
        room = left[:, None, None].clamp(min=1) - 1
        own, others = self._missing_after
        ids, none = self._letters(logits)
        edited = logits.masked_fill(others > room, -math.inf)
        # No token of a phrase leaves more missing than another one: what stays possible is the larger logit,
        # also where an id stands for no token.
        wanted = logits.gather(-1, ids).masked_fill(none | (own > room), -math.inf)
        edited.scatter_reduce_(-1, ids, wanted, "amax")
        if eos_id is not None:
            edited[..., eos_id].masked_fill_(self.missing > 0, -math.inf)
        return edited

    def candidates(self, logits: Tensor, k: int) -> Candidates:
        """Continuations [B, K, k + A]: the k best by tokens of no phrase, and all by those of one."""
        own, others = self._missing_after
        ids, none = self._letters(logits)
        wanted = logits.gather(-1, ids).masked_fill(none, -math.inf)
        elsewhere = torch.full_like(wanted, -math.inf).masked_fill_(none, math.inf)
        values, best = top_candidates(logits.scatter_reduce(-1, ids, elsewhere, "amin"), k)
        return Candidates(
            torch.cat([values, wanted], -1),
            torch.cat([best, ids], -1),
            torch.cat([others.expand_as(best), own], -1),
        )

    def deal(self, scores: Tensor, missing: Tensor, width: int) -> Tensor:
        """Numbers [B, width] of the candidates that get places, the first dealt first.

        Args:
            scores: [B, M] of the candidates; -inf of what is none.
            missing: [B, M] int64 required tokens that each lacks.
            width: at most M.
        """
        banks = self.ids.shape[1] * self.ids.shape[2] + 1
        scores, order = scores.sort(dim=-1, descending=True, stable=True)
        bank = missing.gather(1, order)
        member = F.one_hot(bank, banks)
        rank = (member.cumsum(1) * member).sum(-1)
        turn = (rank * banks + bank).masked_fill(scores == -math.inf, torch.iinfo(torch.int64).max)
        return order.gather(1, turn.argsort(dim=-1, stable=True)[:, :width])

    def follow(self, parent: Tensor, token: Tensor) -> RequiredPhrases:
        """What the hypotheses lack that continue the places `parent` [B, K'] by `token` [B, K']."""
        row = torch.arange(len(parent), device=parent.device).unsqueeze(1)
        begun, met = self._after(
            self.begun[row, parent].unsqueeze(2), self.met[row, parent].unsqueeze(2), token.unsqueeze(2)
        )
        return replace(self, begun=begun.squeeze(2), met=met.squeeze(2))

    def select(self, rows: Tensor) -> RequiredPhrases:
        """Those of some of the sources."""
        fields = (self.ids, self.bits, self.saved, self.alphabet, self.begun, self.met)
        return RequiredPhrases(*(field[rows] for field in fields))

    @cached_property
    def _missing_after(self) -> tuple[Tensor, Tensor]:
        """What is missing after each token of the phrases, [B, K, A], and after any other, [B, K, 1]."""
        begun, met = self.begun.unsqueeze(2), self.met.unsqueeze(2)
        own = self._missing(*self._after(begun, met, self.alphabet.unsqueeze(1)))
        return own, self._missing(torch.zeros_like(begun), met)

    def _after(self, begun: Tensor, met: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """`begun` [B, K, X, C, P] and `met` [B, K, X, C] behind one more token, [B, K, X]."""
        ids = self.ids[:, None, None]
        begun = F.pad(begun[..., :-1], (1, 0), value=True) & (token[..., None, None] == ids)
        last = (ids != _NO_TOKEN) & (F.pad(ids[..., 1:], (0, 1), value=_NO_TOKEN) == _NO_TOKEN)
        return begun, met | (begun & last).any(-1)

    def _missing(self, begun: Tensor, met: Tensor) -> Tensor:
        """[B, K, X] of what is `begun` [B, K, X, C, P] and `met` [B, K, X, C].

        All tokens of the phrases that are lacking, but for those saved by what is begun of the one that is
        written first, and by writing the others into one another behind it.
        """
        B, C, P = self.ids.shape
        lacking, bits = ~met, self.bits[:, None, None]
        lengths = (self.ids != _NO_TOKEN).sum(-1)[:, None, None]
        written = (begun * torch.arange(1, P + 1, device=begun.device)).amax(-1)
        own = bits * lacking
        behind = own.sum(-1, keepdim=True) - own
        place = (behind * C + torch.arange(C, device=begun.device)).view(B, -1)
        saved = self.saved.flatten(1).gather(1, place).view_as(behind)
        return (lengths * lacking).sum(-1) - ((written + saved) * lacking).amax(-1)

    def _letters(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The phrases' tokens as ids [B, K, A] of the logits, and where there are none."""
        ids = self.alphabet.unsqueeze(1).expand(-1, logits.shape[1], -1)
        return ids.clamp(min=0), ids == _NO_LETTER


def require(rows: Sequence[Sequence[Tokens]], device: torch.device) -> RequiredPhrases:
    """Phrases of each source, of which nothing is written yet; no source's are in one another.

    Raises:
        ValueError: too many of a source's phrases overlap.

    Example:
        >>> require([[(3, 1), (2,)], []], torch.device("cpu")).met
        tensor([[[False, False]],
        <BLANKLINE>
                [[ True,  True]]])
    """
    tables = [savings(row) for row in rows]
    letters = [sorted(set(sum(row, ()))) for row in rows]
    B, C = len(rows), max([1, *map(len, rows)])
    P = max([1, *(len(phrase) for row in rows for phrase in row)])
    ids = torch.full((B, C, P), _NO_TOKEN)
    bits = torch.zeros(B, C, dtype=torch.int64)
    saved = torch.zeros(B, max(len(table) for _, table in tables), C, dtype=torch.int64)
    alphabet = torch.full((B, max([1, *map(len, letters)])), _NO_LETTER)
    for b, row in enumerate(rows):
        for c, phrase in enumerate(row):
            ids[b, c, : len(phrase)] = torch.tensor(phrase)
        bits[b, : len(row)] = torch.tensor(tables[b][0], dtype=torch.int64)
        table = torch.tensor(tables[b][1], dtype=torch.int64)
        saved[b, : len(table), : len(row)] = table.view(len(table), len(row))
        alphabet[b, : len(letters[b])] = torch.tensor(letters[b], dtype=torch.int64)
    begun, met = torch.zeros(B, 1, C, P, dtype=torch.bool), ids[:, None, :, 0] == _NO_TOKEN
    return RequiredPhrases(*(field.to(device) for field in (ids, bits, saved, alphabet, begun, met)))


def make_required(
    required: Sequence[Sequence[Phrase]],
    vocabulary_size: int,
    *,
    excluded: Sequence[Phrase],
    prefixes: Sequence[Tensor] | None,
    limits: Sequence[int],
    device: torch.device,
) -> RequiredPhrases:
    """The required phrases of a search, checked; one that is in another is required with it.

    Args:
        required: for each of B sources the tokens and phrases that its output must contain, perhaps none.
        vocabulary_size: V.
        excluded: what cannot be required nor be in what is: forbidden tokens and phrases, and EOS.
        prefixes: what each output begins with: what is in it need not be written again.
        limits: the most tokens of each output.
        device: of the logits.

    Raises:
        ValueError: another number of lists than of sources, or ids outside [0, V) that are excluded.
        PromptError: an empty phrase, ids outside [0, V), what is excluded, too many phrases that overlap, or
            more than the output has room for.

    Example:
        >>> options = {"excluded": [0], "prefixes": None, "device": torch.device("cpu")}
        >>> make_required([[3, (1, 2), 1], []], 4, limits=[5, 5], **options).missing
        tensor([[3],
                [0]])
    """
    if len(required) != len(limits):
        raise ValueError(f"expected required tokens for each of {len(limits)} prompts, got {len(required)}")
    never = as_phrases(excluded, vocabulary_size, what="forbidden tokens")
    rows = list[list[Tokens]]()
    for place, phrases in enumerate(required):
        prefix = [] if prefixes is None else prefixes[place].tolist()
        try:
            rows.append(_possible(as_phrases(phrases, vocabulary_size, what="required tokens"), never))
            needed = len(prefix) + _missing_behind(prefix, rows[-1])
        except ValueError as error:
            raise PromptError([place], str(error)) from None
        if needed > limits[place]:
            raise PromptError(
                [place],
                f"prefix and required tokens are {needed} tokens, and its output may have {limits[place]}: "
                "raise max_tokens",
            )
    return require(rows, device)


def _possible(phrases: list[Tokens], never: Sequence[Tokens]) -> list[Tokens]:
    """The phrases that must be written for all to be."""
    for phrase in phrases:
        if wrong := [other for other in never if contains(phrase, other)]:
            raise ValueError(
                f"the required tokens {list(phrase)} have {list(wrong[0])}, which are forbidden or EOS: "
                "leave them out"
            )
    return without_parts(phrases)


def _missing_behind(prefix: Sequence[int], phrases: Sequence[Tokens]) -> int:
    """The fewest tokens that complete an output which begins so."""
    required, parent = require([phrases], torch.device("cpu")), torch.tensor([[0]])
    for token in prefix:
        required = required.follow(parent, torch.tensor([[token]]))
    return int(required.missing)
