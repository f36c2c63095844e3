"""Texts that a language model writes after prompts, drawn or searched for.

Dimension key: T time, B batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from pyrnn._configuration import LARGEST
from pyrnn.search.config import SamplingConfig
from pyrnn.search.decoder import Decoder, check_texts
from pyrnn.search.sampling import generate
from pyrnn.text import Tokenizer


def generate_text(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    config: SamplingConfig,
    *,
    seed: int = 0,
) -> list[str]:
    """Continue every prompt; the token for unknown ones is never drawn.

    Args:
        model: runs in evaluation mode and is left in the mode in which it came.
        tokenizer: the one that the model was trained with.
        prompts: at least one. One without tokens starts after the end of a sentence, where the tokenizer
            marks that.
        config: how to draw, and when to end.
        seed: of the draws, in [0, 2**63): the same one gives the same texts, on any device but for rounding.

    Returns:
        What follows each prompt, without it, and without the end-of-sentence token at which it stopped.

    Raises:
        ValueError: no prompts, one that the tokenizer cannot encode, an empty one or `stop_at_eos` where the
            tokenizer has no end-of-sentence token, a tokenizer of another size than the model, or a seed out
            of its range.
        TypeError: one string instead of a list of prompts.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> from pyrnn.text import train_tokenizer
        >>> tokenizer = train_tokenizer(lambda: ["to be or not to be"], level="character")
        >>> model = LanguageModel(LanguageModelConfig(len(tokenizer)))
        >>> texts = generate_text(model, tokenizer, ["to", "not"], SamplingConfig(max_tokens=10))
        >>> [len(text) for text in texts]
        [10, 10]
    """
    check_texts(model, tokenizer, prompts)
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    steps = [tokens.tolist() for tokens in _generate_encoded(model, tokenizer, ids, config, seed)]
    columns: Iterable[Iterable[int]] = zip(*steps, strict=True) if steps else [()] * len(ids)
    return [
        "".join(_continuation(tokenizer, prompt, read, _until_end(column, tokenizer, config)))
        for prompt, read, column in zip(prompts, ids, columns, strict=True)
    ]


def stream_text(
    model: Decoder, tokenizer: Tokenizer, prompt: str, config: SamplingConfig, *, seed: int = 0
) -> Iterator[str]:
    """The text that `generate_text` gives for one prompt, in pieces as they are drawn.

    No piece is empty or ends inside a character. Arguments and errors are those of `generate_text`; the
    errors come at once, not with the first piece.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> from pyrnn.text import train_tokenizer
        >>> tokenizer = train_tokenizer(lambda: ["to be or not to be"], level="character")
        >>> model = LanguageModel(LanguageModelConfig(len(tokenizer)))
        >>> len(list(stream_text(model, tokenizer, "to", SamplingConfig(max_tokens=10))))
        10
    """
    check_texts(model, tokenizer, [prompt])
    ids = tokenizer.encode(prompt)
    steps = _generate_encoded(model, tokenizer, [ids], config, seed)
    drawn = _until_end((int(tokens) for tokens in steps), tokenizer, config)
    return _continuation(tokenizer, prompt, ids, drawn)


def _generate_encoded(
    model: Decoder, tokenizer: Tokenizer, prompts: Sequence[Tensor], config: SamplingConfig, seed: int
) -> Iterator[Tensor]:
    """`generate` with what the tokenizer and a seed tell."""
    if not 0 <= seed <= LARGEST:
        raise ValueError(f"seed must lie in [0, {LARGEST}], got {seed}")
    eos_id, unk_id = tokenizer.eos_id, tokenizer.unk_id
    if eos_id is None and any(len(prompt) == 0 for prompt in prompts):
        raise ValueError(
            "a prompt is empty, and the tokenizer has no end-of-sentence token to start from; give a prompt"
        )
    return generate(
        model,
        [prompt if len(prompt) else torch.tensor([eos_id]) for prompt in prompts],
        config,
        suppress_ids=() if unk_id is None else (unk_id,),
        eos_id=eos_id,
        generator=torch.Generator().manual_seed(seed),
    )


def _until_end(ids: Iterable[int], tokenizer: Tokenizer, config: SamplingConfig) -> Iterator[int]:
    """The drawn ids of a row but for the EOS at which it stopped, and what came after."""
    for id in ids:
        if config.stop_at_eos and id == tokenizer.eos_id:
            return
        yield id


def _continuation(
    tokenizer: Tokenizer, prompt: str, prompt_ids: Tensor, drawn: Iterable[int]
) -> Iterator[str]:
    """The text of `drawn` after `prompt`, whose end decides, say, whether a space comes between.

    Ids of words know nothing of white space behind the prompt: then the space is there already.
    """
    read = tokenizer.decode(prompt_ids)
    spaced = prompt[-1:].isspace() and not read[-1:].isspace()
    hidden = len(read)
    for piece in tokenizer.decode_stream(chain(prompt_ids.tolist(), drawn)):
        shown, hidden = piece[hidden:], max(0, hidden - len(piece))
        if shown:
            yield shown.removeprefix(" ") if spaced else shown
            spaced = False
