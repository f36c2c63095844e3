"""How tokens are drawn: settings that need no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyrnn._configuration import require_range


@dataclass(frozen=True)
class SamplingConfig:
    """How tokens are drawn.

    Args:
        temperature: divides the logits: above one flattens the distribution, below one sharpens it, 0 always
            takes the likeliest token.
        top_k: draw among the k likeliest tokens only; 0 for all.
        top_p: draw among the fewest likeliest tokens whose probability together reaches `top_p`, and at least
            one; 1 for all.
        max_tokens: end after so many tokens.
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
    max_tokens: int = 200
    stop_at_eos: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be finite and not negative, got {self.temperature}")
        require_range(self, ("top_k", "max_tokens"), least=0)
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p must lie in [0, 1], got {self.top_p}")
