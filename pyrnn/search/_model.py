"""How sampling and scoring run a model, and what they check of their arguments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pyrnn.models import LanguageModel
from pyrnn.text import Tokenizer

#: Logits T*B*V that one call of a model may make: 64 MiB in float32, whatever the vocabulary and the text.
LOGITS_AT_ONCE = 1 << 24


def window_steps(batch: int, vocabulary_size: int) -> int:
    """Steps T, at least one, that a call on `batch` sequences may take within `LOGITS_AT_ONCE`."""
    return max(1, LOGITS_AT_ONCE // max(1, batch * vocabulary_size))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards the model is in the mode in which it came.

    A generator must leave this block before it yields: gradients are off for the whole thread, the caller's
    code included.
    """
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if was_training:
            model.train()


def check_texts(model: LanguageModel, tokenizer: Tokenizer, texts: object) -> None:
    """Refuse a tokenizer of another vocabulary than the model's, and a string where a list of them is due.

    Raises:
        ValueError: the sizes differ.
        TypeError: `texts` is one string, whose characters would pass for texts.
    """
    if isinstance(texts, str):
        raise TypeError(f"expected a list of texts, got one string, {texts[:40]!r}; put it in a list")
    V = model.config.vocabulary_size
    if len(tokenizer) != V:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} symbols and the model {V}: give the tokenizer that the "
            "model was trained with"
        )


def check_ids(ids: Tensor, vocabulary_size: int, *, what: str) -> None:
    """Refuse all but vectors of integers in [0, vocabulary_size)."""
    if ids.is_floating_point() or ids.dtype == torch.bool or ids.dim() != 1:
        raise ValueError(f"{what} must be a vector of integers, got {ids.dtype} of shape {list(ids.shape)}")
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= vocabulary_size):
        raise ValueError(
            f"{what} must lie in [0, {vocabulary_size}), got {int(ids.min())} to {int(ids.max())}; "
            "encode with the vocabulary that the model was trained with"
        )
