"""Errors of some of the prompts of a search, which are no reason to leave the others."""

from __future__ import annotations

from collections.abc import Iterable


class PromptError(ValueError):
    """What some prompts ask for cannot be done; without them the others can be searched.

    Attributes:
        prompts: their places, counted from 0; the message counts from 1.
        reason: what is wrong with them, and what to do.

    Example:
        >>> error = PromptError([1], "prefix and required tokens are 9 tokens, and its output may have 5")
        >>> error.prompts, str(error)
        ([1], 'prompt 2: prefix and required tokens are 9 tokens, and its output may have 5')
    """

    def __init__(self, prompts: Iterable[int], reason: str) -> None:
        self.prompts, self.reason = list(prompts), reason
        numbers = [place + 1 for place in self.prompts]
        super().__init__(f"{f'prompts {numbers}' if len(numbers) > 1 else f'prompt {numbers[0]}'}: {reason}")
