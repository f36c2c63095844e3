"""How tokens are drawn and hypotheses ranked: settings that need no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pyrnn._configuration import require_choices, require_range

LengthNorm = Literal["none", "power", "gnmt"]

#: A token's id, or those of several tokens in a row.
Phrase = int | Sequence[int]


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What may be written and how much of it, whatever the strategy. A closing EOS counts as a token.

    Args:
        max_tokens: end after so many tokens.
        max_tokens_per_source: a source of S tokens allows `max_tokens_per_source` * S more, rounded down.
        min_tokens: do not end a sentence with fewer tokens.
        no_repeat_ngram: write no so many tokens in a row twice; 0 for no such rule. What was read before the
            first token does not count.
        forbidden: what is never written: ids, and phrases as tuples of ids.

    Raises:
        ValueError: a negative or infinite number, or a minimum above the maximum.

    Example:
        >>> OutputConfig(max_tokens=10, max_tokens_per_source=1.5).limit(source_length=5)
        17
    """

    max_tokens: int = 200
    max_tokens_per_source: float = 0.0
    min_tokens: int = 0
    no_repeat_ngram: int = 0
    forbidden: tuple[Phrase, ...] = ()

    def __post_init__(self) -> None:
        require_range(self, ("max_tokens", "min_tokens", "no_repeat_ngram"), least=0)
        require_range(self, ("max_tokens_per_source",), least=0, most=1000)
        if self.min_tokens > self.max_tokens and self.max_tokens_per_source == 0:
            raise ValueError(
                f"min_tokens must be at most max_tokens, got {self.min_tokens} and {self.max_tokens}"
            )

    def limit(self, source_length: int) -> int:
        """The most tokens that may be written for a source of so many."""
        return self.max_tokens + int(self.max_tokens_per_source * source_length)


@dataclass(frozen=True)
class SamplingConfig(OutputConfig):
    """How tokens are drawn.

    Args:
        temperature: divides the logits: above one flattens the distribution, below one sharpens it, 0 always
            takes the likeliest token.
        top_k: draw among the k likeliest tokens only; 0 for all.
        top_p: draw among the fewest likeliest tokens whose probability together reaches `top_p`, and at least
            one; 1 for all.
        stop_at_eos: end a row once it has drawn the end-of-sentence token.

    Raises:
        ValueError: a negative or infinite temperature, a negative count, or a probability outside [0, 1].

    Example:
        >>> SamplingConfig(temperature=0.8, top_k=40).max_tokens
        200
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop_at_eos: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be finite and not negative, got {self.temperature}")
        require_range(self, ("top_k",), least=0)
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p must lie in [0, 1], got {self.top_p}")


@dataclass(frozen=True)
class SearchConfig(OutputConfig):
    r"""How beam search works and ranks what it finds.

    The score of an output y of L tokens for a source x is

        score(y) = log p(y | x) / norm(L) + coverage_penalty * sum_i log min(sum_j a_ij, 1)

    where a_ij is the attention to source token i in writing y_j, and norm(L) is 1 for "none", which makes the
    score the log-probability and favours short outputs; L^alpha for "power", the mean per token at alpha 1;
    and ((5 + L) / 6)^alpha for "gnmt".

    Args:
        beam_width: hypotheses of a source that are kept side by side; 1 is greedy.
        n_best: how many of them to return.
        length_norm: what the log-probability is divided by.
        alpha: exponent of the norm; 0 is no norm.
        coverage_penalty: weight of what was left without attention; 0 for none.

    Raises:
        ValueError: a width or n_best below one, n_best above the width, an unknown norm, or a negative or
            infinite number.

    Source: Wu et al., "Google's neural machine translation system", 2016, equation 14.

    Example:
        >>> SearchConfig(beam_width=5, length_norm="gnmt", alpha=0.6).norm(7)
        1.515716566510398
    """

    beam_width: int = 4
    n_best: int = 1
    length_norm: LengthNorm = "none"
    alpha: float = 1.0
    coverage_penalty: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, ("beam_width", "n_best"), least=1)
        require_choices(self, ("length_norm",))
        require_range(self, ("alpha",), least=0, most=10)
        require_range(self, ("coverage_penalty",), least=0)
        if self.n_best > self.beam_width:
            raise ValueError(
                f"n_best must be at most beam_width, got {self.n_best} and {self.beam_width}: a beam finds "
                "no more outputs than it is wide"
            )

    def norm(self, length: float) -> float:
        """What the log-probability of so many tokens is divided by; it does not fall with the length."""
        if self.length_norm == "none":
            return 1.0
        return (length if self.length_norm == "power" else (5 + length) / 6) ** self.alpha
