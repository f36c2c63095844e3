"""Texts that a language model writes after prompts, drawn or searched for.

Dimension key: T time, B batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from pyrnn._configuration import LARGEST
from pyrnn.search.beam import beam_search
from pyrnn.search.config import SamplingConfig, SearchConfig
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
    state: Any = None,
) -> list[str]:
    """Continue every prompt; the token for unknown ones is never drawn.

    Args:
        model: runs in evaluation mode and is left in the mode in which it came.
        tokenizer: the one that the model was trained with.
        prompts: at least one. One without tokens starts after the end of a sentence, where the tokenizer
            marks that.
        config: how to draw, and when to end.
        seed: of the draws, in [0, 2**63): the same one gives the same texts, on any device but for rounding.
        state: of each prompt, what `model.start(source)` gave, where texts have a source or a condition.

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
    steps = [tokens.tolist() for tokens in _generate_encoded(model, tokenizer, ids, config, seed, state)]
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
    steps = _generate_encoded(model, tokenizer, [ids], config, seed, None)
    drawn = _until_end((int(tokens) for tokens in steps), tokenizer, config)
    return _continuation(tokenizer, prompt, ids, drawn)


@dataclass(frozen=True)
class FoundText:
    """A text that beam search found.

    Args:
        text: what follows the prompt, without the end-of-sentence token.
        score: by which it is ranked, see `SearchConfig`.
        log_probability: log p(text | prompt) in nats, the end-of-sentence token included where it has one.
        finished: whether it ended there, or was cut.

    Example:
        >>> FoundText(" be", score=-1.5, log_probability=-1.5, finished=False).text
        ' be'
    """

    text: str
    score: float
    log_probability: float
    finished: bool


def search_text(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    config: SearchConfig,
    *,
    stop_at_eos: bool = False,
    state: Any = None,
) -> list[list[FoundText]]:
    """Search the continuations of every prompt that have the best scores; none has an unknown token.

    Args:
        model: as of `generate_text`.
        tokenizer: as of `generate_text`.
        prompts: as of `generate_text`.
        config: width, ranking and rules.
        stop_at_eos: whether the end-of-sentence token ends a text.
        state: as of `generate_text`.

    Returns:
        For each prompt at most `config.n_best` texts, the best first.

    Raises:
        ValueError: as `generate_text`, and as `beam_search`.
        TypeError: one string instead of a list of prompts.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> from pyrnn.text import train_tokenizer
        >>> tokenizer = train_tokenizer(lambda: ["to be or not to be"], level="character")
        >>> model = LanguageModel(LanguageModelConfig(len(tokenizer)))
        >>> [found] = search_text(model, tokenizer, ["to"], SearchConfig(n_best=2, max_tokens=10))
        >>> [len(each.text) for each in found]
        [10, 10]
    """
    check_texts(model, tokenizer, prompts)
    if stop_at_eos and tokenizer.eos_id is None:
        raise ValueError("stop_at_eos needs a tokenizer that has an end-of-sentence token; set it to false")
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    found = beam_search(
        model,
        _readable(tokenizer, ids),
        config,
        eos_id=tokenizer.eos_id if stop_at_eos else None,
        state=state,
        suppress_ids=_never_written(tokenizer),
    )
    return [
        [
            FoundText(
                "".join(_continuation(tokenizer, prompt, read, each.content)),
                each.score,
                each.log_probability,
                each.finished,
            )
            for each in hypotheses
        ]
        for prompt, read, hypotheses in zip(prompts, ids, found, strict=True)
    ]


def _generate_encoded(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[Tensor],
    config: SamplingConfig,
    seed: int,
    state: Any,
) -> Iterator[Tensor]:
    """`generate` with what the tokenizer and a seed tell."""
    if not 0 <= seed <= LARGEST:
        raise ValueError(f"seed must lie in [0, {LARGEST}], got {seed}")
    return generate(
        model,
        _readable(tokenizer, prompts),
        config,
        state=state,
        suppress_ids=_never_written(tokenizer),
        eos_id=tokenizer.eos_id,
        generator=torch.Generator().manual_seed(seed),
    )


def _readable(tokenizer: Tokenizer, prompts: Sequence[Tensor]) -> list[Tensor]:
    """Prompts of at least one token: an empty one is the end of a sentence, after which one begins."""
    eos_id = tokenizer.eos_id
    if eos_id is None and any(len(prompt) == 0 for prompt in prompts):
        raise ValueError(
            "a prompt is empty, and the tokenizer has no end-of-sentence token to start from; give a prompt"
        )
    return [prompt if len(prompt) else torch.tensor([eos_id]) for prompt in prompts]


def _never_written(tokenizer: Tokenizer) -> tuple[int, ...]:
    return () if tokenizer.unk_id is None else (tokenizer.unk_id,)


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
