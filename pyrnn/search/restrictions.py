"""Which tokens may come next, whatever the strategy: edits of the logits before one is chosen.

Dimension key: B sequences or sources, K hypotheses of each, V vocabulary, T tokens written so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pyrnn.search.config import OutputConfig
from pyrnn.search.decoder import check_ids
from pyrnn.search.phrases import Tokens, as_phrases
from pyrnn.search.prompt_error import PromptError

_NO_PREFIX = -1


@dataclass(frozen=True)
class Restrictions:
    """The rules of an `OutputConfig`, with ids as tensors, and what each output must begin with.

    Args:
        forbidden: [F] int64 ids that are never written.
        eos_id: the token that may not end an output of fewer than `min_tokens`, if any.
        min_tokens: see `OutputConfig`.
        no_repeat_ngram: see `OutputConfig`.
        phrases: sequences of two ids or more that are never written.
        prefixes: [B, P] int64, -1 behind each end. A prefix is written as it is: the other rules do not hold
            for it.

    Example:
        >>> rules = Restrictions(torch.tensor([2]), eos_id=0, min_tokens=2)
        >>> rules.apply(torch.zeros(1, 1, 4), torch.empty(1, 1, 0, dtype=torch.int64))
        tensor([[[-inf, 0., -inf, 0.]]])
    """

    forbidden: Tensor
    eos_id: int | None = None
    min_tokens: int = 0
    no_repeat_ngram: int = 0
    phrases: tuple[Tokens, ...] = ()
    prefixes: Tensor | None = None

    @property
    def reads_history(self) -> bool:
        """Whether `apply` looks at the tokens written, and not at their number alone."""
        return self.no_repeat_ngram > 0 or len(self.phrases) > 0

    def select(self, rows: Tensor) -> Restrictions:
        """Those of some of the sources."""
        return self if self.prefixes is None else replace(self, prefixes=self.prefixes[rows])

    def asks_rows(self, T: int) -> bool:
        """Whether outputs of T tokens are asked for what differs between them: more than `never_next`."""
        return self._forced(T) or self._repeating(T) or len(self.phrases) > 0

    def never_next(self, T: int) -> list[int]:
        """The ids that may follow no output of T tokens, unless its prefix goes on."""
        early = [self.eos_id] if self.eos_id is not None and self._ending(T) else []
        return self.forbidden.tolist() + early

    def apply(self, logits: Tensor, written: Tensor) -> Tensor:
        """Logits [B, K, V] with -inf for every token that may not follow `written` [B, K, T] int64.

        Only the size of `written` matters unless `reads_history`. The argument is left as it is.
        """
        T = written.shape[2]
        if not (self.asks_rows(T) or self._ending(T) or len(self.forbidden)):
            return logits
        edited = logits.index_fill(-1, self.forbidden, -math.inf)
        if self._ending(T):
            edited[..., self.eos_id] = -math.inf
        if self._repeating(T):
            _ban_repeats(edited, written, self.no_repeat_ngram)
        for phrase in self.phrases:
            _ban_end(edited, written, phrase)
        if self.prefixes is not None and self._forced(T):
            _force(edited, logits, self.prefixes[:, T])
        return edited

    def _forced(self, T: int) -> bool:
        return self.prefixes is not None and self.prefixes.shape[1] > T

    def _repeating(self, T: int) -> bool:
        return 0 < self.no_repeat_ngram <= T

    def _ending(self, T: int) -> bool:
        """Whether an output may not end behind T tokens."""
        return self.eos_id is not None and self.min_tokens > T + 1


def make_restrictions(
    config: OutputConfig,
    vocabulary_size: int,
    *,
    eos_id: int | None,
    suppress_ids: Iterable[int],
    prefixes: Sequence[Tensor] | None,
    limits: Sequence[int],
    device: torch.device,
) -> Restrictions:
    """The restrictions of a search, checked.

    Args:
        config: the rules.
        vocabulary_size: V.
        eos_id: the token that ends an output, if one does.
        suppress_ids: ids that are forbidden beside what the configuration forbids.
        prefixes: for each of B sources what its output begins with, a vector that may be empty.
        limits: the most tokens of each of the B outputs.
        device: of the logits.

    Raises:
        ValueError: ids outside [0, V), an empty phrase, another number of prefixes than of sources, one that
            is longer than its output may be or goes on behind EOS.

    Example:
        >>> make_restrictions(
        ...     OutputConfig(forbidden=(3, (1, 2))),
        ...     4,
        ...     eos_id=0,
        ...     suppress_ids=[2],
        ...     prefixes=None,
        ...     limits=[9],
        ...     device=torch.device("cpu"),
        ... ).forbidden
        tensor([2, 3])
    """
    phrases = as_phrases([*suppress_ids, *config.forbidden], vocabulary_size, what="suppressed ids")
    forbidden = torch.tensor([phrase[0] for phrase in phrases if len(phrase) == 1], dtype=torch.int64)
    longer = tuple(phrase for phrase in phrases if len(phrase) > 1)
    if eos_id is not None:
        check_ids(torch.tensor([eos_id]), vocabulary_size, what="eos_id")
    padded = None
    if prefixes is not None:
        if len(prefixes) != len(limits):
            raise ValueError(f"expected a prefix for each of {len(limits)} prompts, got {len(prefixes)}")
        for number, (prefix, limit) in enumerate(zip(prefixes, limits, strict=True), 1):
            check_ids(prefix, vocabulary_size, what=f"prefix {number}")
            if len(prefix) > limit:
                raise ValueError(
                    f"prefix {number} has {len(prefix)} tokens, and its output may have {limit}: raise "
                    "max_tokens or shorten the prefix"
                )
            if eos_id is not None and bool((prefix[:-1] == eos_id).any()):
                raise ValueError(
                    f"prefix {number} goes on behind EOS, {eos_id}: an output ends there; cut the prefix"
                )
        columns = [prefix.to(device, torch.int64) for prefix in prefixes]
        padded = pad_sequence(columns, batch_first=True, padding_value=_NO_PREFIX)
    return Restrictions(
        forbidden.to(device), eos_id, config.min_tokens, config.no_repeat_ngram, longer, padded
    )


def output_limits(config: OutputConfig, B: int, source_lengths: Tensor | None) -> list[int]:
    """The most tokens that each of B outputs may have.

    Args:
        config: the limits.
        B: number of sources.
        source_lengths: [B] tokens of each source, where there is one.

    Raises:
        ValueError: the limit depends on lengths that are not given, or there are not B of them.
        PromptError: the limit of a source's output is below `min_tokens`; of several such limits the first
            one, and all prompts that have it.

    Example:
        >>> config = OutputConfig(max_tokens=3, max_tokens_per_source=2)
        >>> output_limits(config, 2, torch.tensor([1, 5]))
        [5, 13]
    """
    if source_lengths is not None and source_lengths.shape != (B,):
        raise ValueError(
            f"source_lengths must be [{B}], one for each prompt, got shape {list(source_lengths.shape)}"
        )
    if config.max_tokens_per_source == 0:
        return [config.max_tokens] * B
    if source_lengths is None:
        raise ValueError("max_tokens_per_source needs source_lengths: give them, or set it to 0")
    limits = [config.limit(length) for length in source_lengths.tolist()]
    if short := [limit for limit in limits if limit < config.min_tokens]:
        raise PromptError(
            [place for place, limit in enumerate(limits) if limit == short[0]],
            f"an output has at least {config.min_tokens} tokens by min_tokens, and may have {short[0]} by "
            "max_tokens and max_tokens_per_source: set min_tokens lower or max_tokens higher",
        )
    return limits


def extend_history(written: Tensor, tokens: Tensor, *, kept: bool) -> Tensor:
    """`written` [B, K, T] with `tokens` [B, K] behind; where the ids are not kept, a view that has the size.

    Example:
        >>> extend_history(torch.tensor([[[1, 2]]]), torch.tensor([[3]]), kept=True)
        tensor([[[1, 2, 3]]])
    """
    if kept:
        return torch.cat([written, tokens.unsqueeze(-1)], dim=-1)
    return tokens.unsqueeze(-1).expand(-1, -1, written.shape[-1] + 1)


def unread_history(B: int, K: int, T: int) -> Tensor:
    """[B, K, T] for rules that read no more of it than its size.

    Example:
        >>> unread_history(2, 3, 100).shape
        torch.Size([2, 3, 100])
    """
    return torch.empty(1, 1, 1, dtype=torch.int64).expand(B, K, T)


def _ban_repeats(logits: Tensor, written: Tensor, n: int) -> None:
    """-inf, in place, for every token that followed the last n - 1 tokens before."""
    T = written.shape[2]
    followed = torch.ones_like(written[..., n - 1 :], dtype=torch.bool)
    for i in range(n - 1):
        followed &= written[..., i : T - n + 1 + i] == written[..., T - n + 1 + i, None]
    banned = torch.zeros_like(followed, dtype=logits.dtype).masked_fill_(followed, -math.inf)
    # A sum, because a token may have followed in one place and not in another: that one adds nothing.
    logits.scatter_add_(-1, written[..., n - 1 :], banned)


def _ban_end(logits: Tensor, written: Tensor, phrase: Tokens) -> None:
    """-inf, in place, for the last token of a phrase whose other tokens were written last."""
    before = len(phrase) - 1
    if (begin := written.shape[2] - before) < 0:
        return
    ends = torch.ones_like(logits[..., 0], dtype=torch.bool)
    for place, token in enumerate(phrase[:-1], begin):
        ends &= written[..., place] == token
    logits[..., phrase[-1]].masked_fill_(ends, -math.inf)


def _force(edited: Tensor, logits: Tensor, tokens: Tensor) -> None:
    """Leave `tokens` [B] alone, in place and with their own logits, where they are no padding."""
    ids = tokens[:, None, None].expand(*edited.shape[:2], 1)
    forced = ids != _NO_PREFIX
    ids = ids.clamp(min=0)
    kept = torch.where(forced, logits.gather(-1, ids), edited.gather(-1, ids))
    edited.masked_fill_(forced, -math.inf).scatter_(-1, ids, kept)
