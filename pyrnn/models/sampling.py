"""Text from a language model, one symbol at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from pyrnn.models.language_model import LanguageModel
from pyrnn.text import Vocabulary


def sample(
    model: LanguageModel,
    prompt: Tensor,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Draw ids without end, each from softmax(logits / temperature) given all before it.

    Args:
        model: put into evaluation mode.
        prompt: [N] int64, at least one id: what is read before the first draw.
        temperature: above one flattens the distribution, below one sharpens it, 0 always takes the likeliest.
        generator: source of the draws; by default torch's global one.

    Raises:
        ValueError: an empty prompt or a negative temperature.
    """
    if prompt.dim() != 1 or prompt.shape[0] == 0:
        raise ValueError(f"the prompt must hold at least one symbol [N], got shape {list(prompt.shape)}")
    if not temperature >= 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    model.eval()
    return _draws(model, prompt, temperature, generator)


def sample_text(
    model: LanguageModel,
    vocabulary: Vocabulary,
    prompt: str,
    length: int,
    *,
    temperature: float = 1.0,
    seed: int = 0,
) -> str:
    """Continue `prompt` by `length` characters; the same seed gives the same text.

    Raises:
        ValueError: an empty prompt, a character that the vocabulary lacks, or a negative temperature.

    Example:
        >>> from pyrnn.models import LanguageModelConfig
        >>> vocabulary = Vocabulary.from_text("abc")
        >>> len(sample_text(LanguageModel(LanguageModelConfig(3)), vocabulary, "ab", 10))
        10
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    ids = sample(model, vocabulary.encode(prompt).to(device), temperature=temperature, generator=generator)
    return vocabulary.decode(islice(ids, length))


@torch.no_grad()
def _draws(
    model: LanguageModel, prompt: Tensor, temperature: float, generator: torch.Generator | None
) -> Iterator[int]:
    input, state = prompt.unsqueeze(1), None  # [T, B=1]
    while True:
        logits, state = model(input, state)
        last_v = logits[-1, 0]
        if temperature == 0:
            input = last_v.argmax().view(1, 1)
        else:
            probabilities = torch.softmax(last_v / temperature, dim=0)
            input = torch.multinomial(probabilities, 1, generator=generator).view(1, 1)
        yield int(input)
