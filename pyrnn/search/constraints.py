"""Tokens that every output must contain, in places of the beam that are kept for them.

Dimension key: B sources, K places of the beam, C required tokens, V vocabulary, M candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from pyrnn.search.decoder import check_ids
from pyrnn.search.filtering import top_candidates


class Candidates(NamedTuple):
    """Continuations of each hypothesis: logits, ids, and how many required tokens are missing after each."""

    logits: Tensor
    ids: Tensor
    missing: Tensor


@dataclass(frozen=True)
class RequiredTokens:
    """Which tokens the hypotheses still lack.

    A hypothesis may not end while it lacks one, and where it has only as many tokens left as it lacks, it
    must write them: so whatever ends is complete, whatever the width. For the likeliest way to place them, a
    beam must not be filled by hypotheses that put them off: hypotheses that lack equally many form a bank,
    and the places are dealt to the banks in turn, the one that lacks least first, in each the best first.

    Sources: banks: Hokamp and Liu, "Lexically constrained decoding", 2017; places shared among them: Post and
    Vilar, "Fast lexically constrained decoding with dynamic beam allocation", 2018, section 3.

    Args:
        ids: [B, C] int64, distinct in each row; any id stands for no token.
        met: [B, K, C] bool, which are written, or no token.

    Example:
        >>> required = RequiredTokens(torch.tensor([[3, 1]]), torch.tensor([[[False, True]]]))
        >>> required.restrict(torch.zeros(1, 1, 4), left=torch.tensor([1]), eos_id=0)
        tensor([[[-inf, -inf, -inf, 0.]]])
    """

    ids: Tensor
    met: Tensor

    def restrict(self, logits: Tensor, *, left: Tensor, eos_id: int | None) -> Tensor:
        """Logits [B, K, V] with -inf where an output would end incomplete.

        Args:
            logits: of the next token.
            left: [B] tokens that each output may still have, that one included.
            eos_id: the token that ends an output, if one does.
        """
        missing = (~self.met).sum(-1, keepdim=True)
        forced = missing >= left[:, None, None].clamp(min=1)
        ids = self._wide_ids(logits)
        wanted = logits.gather(-1, ids).masked_fill(self.met | ~forced, -math.inf)
        # Where ids repeat, for they stand for no token, the largest is that of a token.
        edited = logits.masked_fill(forced, -math.inf).scatter_reduce_(-1, ids, wanted, "amax")
        if eos_id is not None:
            edited[..., eos_id : eos_id + 1].masked_fill_(missing > 0, -math.inf)
        return edited

    def candidates(self, logits: Tensor, k: int) -> Candidates:
        """Continuations [B, K, k + C]: the k best by tokens not lacking, and all by those that are."""
        ids = self._wide_ids(logits)
        wanted = logits.gather(-1, ids).masked_fill(self.met, -math.inf)
        lacking = torch.full_like(wanted, -math.inf).masked_fill_(self.met, math.inf)
        values, others = top_candidates(logits.scatter_reduce(-1, ids, lacking, "amin"), k)
        missing = (~self.met).sum(-1, keepdim=True)
        return Candidates(
            torch.cat([values, wanted], -1),
            torch.cat([others, ids], -1),
            torch.cat([missing.expand_as(others), (missing - 1).clamp(min=0).expand_as(ids)], -1),
        )

    def deal(self, scores: Tensor, missing: Tensor, width: int) -> Tensor:
        """Numbers [B, width] of the candidates that get places, the first dealt first.

        Args:
            scores: [B, M] of the candidates; -inf of what is none.
            missing: [B, M] int64 required tokens that each lacks.
            width: at most M.
        """
        banks = self.ids.shape[1] + 1
        scores, order = scores.sort(dim=-1, descending=True, stable=True)
        bank = missing.gather(1, order)
        member = F.one_hot(bank, banks)
        rank = (member.cumsum(1) * member).sum(-1)
        turn = (rank * banks + bank).masked_fill(scores == -math.inf, torch.iinfo(torch.int64).max)
        return order.gather(1, turn.argsort(dim=-1, stable=True)[:, :width])

    def follow(self, parent: Tensor, token: Tensor) -> RequiredTokens:
        """What the hypotheses lack that continue the places `parent` [B, K'] by `token` [B, K']."""
        met = self.met.gather(1, parent.unsqueeze(-1).expand(-1, -1, self.met.shape[2]))
        return replace(self, met=met | (token.unsqueeze(-1) == self.ids.unsqueeze(1)))

    def select(self, rows: Tensor) -> RequiredTokens:
        """Those of some of the sources."""
        return RequiredTokens(self.ids[rows], self.met[rows])

    def _wide_ids(self, logits: Tensor) -> Tensor:
        return self.ids.unsqueeze(1).expand(-1, logits.shape[1], -1)


def make_required(
    required: Sequence[Sequence[int]],
    vocabulary_size: int,
    *,
    excluded: Sequence[int],
    prefixes: Sequence[Tensor] | None,
    limits: Sequence[int],
    device: torch.device,
) -> RequiredTokens:
    """The required tokens of a search, checked; twice the same one is required once.

    Args:
        required: for each of B sources the ids that its output must contain, perhaps none.
        vocabulary_size: V.
        excluded: ids that cannot be required: forbidden ones and EOS.
        prefixes: what each output begins with: what is in it need not be written again.
        limits: the most tokens of each output.
        device: of the logits.

    Raises:
        ValueError: another number of lists than of sources, ids outside [0, V) or excluded, or more than the
            output has room for.

    Example:
        >>> make_required(
        ...     [[3, 1, 3], []], 4, excluded=[0], prefixes=None, limits=[5, 5], device=torch.device("cpu")
        ... ).met
        tensor([[[False, False]],
        <BLANKLINE>
                [[ True,  True]]])
    """
    if len(required) != len(limits):
        raise ValueError(f"expected required tokens for each of {len(limits)} prompts, got {len(required)}")
    rows = [torch.tensor(sorted(set(ids)), dtype=torch.int64) for ids in required]
    for number, (ids, limit) in enumerate(zip(rows, limits, strict=True), 1):
        check_ids(ids, vocabulary_size, what=f"required tokens of prompt {number}")
        if impossible := sorted(set(ids.tolist()) & set(excluded)):
            raise ValueError(
                f"prompt {number}: the required tokens {impossible} are forbidden or EOS: leave them out"
            )
        begun = set() if prefixes is None else set(prefixes[number - 1].tolist())
        written = 0 if prefixes is None else len(prefixes[number - 1])
        if (needed := len(set(ids.tolist()) - begun) + written) > limit:
            raise ValueError(
                f"prompt {number}: prefix and required tokens are {needed} tokens, and its output may have "
                f"{limit}: raise max_tokens"
            )
    padded = pad_sequence(rows, batch_first=True).to(device)
    lengths = torch.tensor([len(ids) for ids in rows])
    met = torch.arange(padded.shape[1]) >= lengths[:, None]
    return RequiredTokens(padded, met.unsqueeze(1).to(device))
