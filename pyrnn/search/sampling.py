"""Tokens drawn from a language model, one a step, for a batch of prompts at once.

Dimension key: T time, B batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pyrnn._configuration import LARGEST
from pyrnn.models import StepOutput
from pyrnn.nn import frozen_weights
from pyrnn.search.config import SamplingConfig
from pyrnn.search.decoder import (
    Decoder,
    check_ids,
    check_texts,
    device_of,
    evaluating,
    module_of,
    prefill,
)
from pyrnn.search.filtering import filter_logits
from pyrnn.text import Tokenizer

#: What `generate` yields for a row that has ended.
FINISHED = -1


def generate(
    model: Decoder,
    prompts: Sequence[Tensor],
    config: SamplingConfig,
    *,
    suppress_ids: Iterable[int] = (),
    eos_id: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Continue every prompt, token after token, each drawn given all before it.

    The prompts are read together, padded, and every further step is one call of the model for all rows. At
    temperature 0 a row does not depend on its neighbours, but for rounding. The same prompts and state of the
    generator give the same tokens.

    Args:
        model: runs in evaluation mode and is left in the mode in which it came. Its weights are to stay as
            they are until the iterator ends.
        prompts: B vectors [N_b] of integers, at least one each: what is read before the first draw.
        config: how to draw, and when to end.
        suppress_ids: ids that are never drawn.
        eos_id: the token that ends a row if `config.stop_at_eos`.
        generator: source of the draws, on any device; by default torch's global one of the CPU. One uniform
            number is taken for each row and step.

    Returns:
        An iterator over [B] int64 on the model's device: the next token of each row. A row that has drawn
        the token that ends it gives `FINISHED` (-1) from then on. The iterator ends after
        `config.max_tokens`, or when every row has ended.

    Raises:
        ValueError: no prompts, one that is empty or no vector of integers, ids outside [0, V), `stop_at_eos`
            without `eos_id`; while iterating, as `filter_logits`.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(5))
        >>> prompts = [torch.tensor([1, 2, 3]), torch.tensor([4])]
        >>> tokens = torch.stack(list(generate(model, prompts, SamplingConfig(max_tokens=7))))
        >>> tokens.shape
        torch.Size([7, 2])
    """
    V, device = model.vocabulary_size, device_of(model)
    if len(prompts) == 0:
        raise ValueError("there must be at least one prompt, got none")
    for prompt in prompts:
        if prompt.dim() != 1 or prompt.shape[0] == 0:
            raise ValueError(
                f"a prompt must be a vector of at least one token, got shape {list(prompt.shape)}"
            )
        check_ids(prompt, V, what="prompts")
    if config.stop_at_eos and eos_id is None:
        raise ValueError(
            "stop_at_eos needs an end-of-sentence token: give eos_id, or set stop_at_eos to false"
        )
    if eos_id is not None:
        check_ids(torch.tensor([eos_id]), V, what="eos_id")
    suppressed = torch.tensor(sorted(set(suppress_ids)), dtype=torch.int64)
    check_ids(suppressed, V, what="suppressed ids")
    padded = pad_sequence([prompt.to(device, torch.int64) for prompt in prompts]).T
    counts = [prompt.shape[0] for prompt in prompts]
    lengths = torch.tensor(counts, device=device) if len(set(counts)) > 1 else None
    stop = eos_id if config.stop_at_eos else None
    return _tokens(model, padded, lengths, config, suppressed if len(suppressed) else None, stop, generator)


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


def _tokens(
    model: Decoder,
    prompts: Tensor,
    lengths: Tensor | None,
    config: SamplingConfig,
    suppressed: Tensor | None,
    stop: int | None,
    generator: torch.Generator | None,
) -> Iterator[Tensor]:
    """What `generate` returns, for the padded prompts [N, T] and, where they differ, their lengths [N]."""
    output: StepOutput | None = None
    tokens = prompts
    finished = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    frozen = frozen_weights(module_of(model))
    for _ in range(config.max_tokens):
        with evaluating(model), frozen:  # between two tokens the model is the caller's
            if output is None:
                output = prefill(model, prompts, model.start(), lengths)
            else:
                output = model.step(tokens, output.state)
            tokens = _draw(filter_logits(output.logits, config, suppressed=suppressed), config, generator)
        yield tokens.masked_fill(finished, FINISHED)
        if stop is not None:
            finished |= tokens == stop
            if finished.all():
                return


def _draw(logits: Tensor, config: SamplingConfig, generator: torch.Generator | None) -> Tensor:
    """A token [B] of each row of filtered logits [B, V].

    Inverse of the distribution function: one uniform number a row instead of the V that torch.multinomial
    takes, which for a large vocabulary costs more than the model; and it may come from any device.
    """
    if config.temperature == 0:
        return logits.argmax(-1)
    probability = logits.softmax(-1)
    cumulative = probability.cumsum(-1, dtype=torch.float64)
    source = torch.device("cpu") if generator is None else generator.device
    uniform = torch.rand(logits.shape[0], 1, dtype=torch.float64, generator=generator, device=source)
    target = uniform.to(logits.device) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, target, right=True).clamp_(max=logits.shape[1] - 1)
    # A parallel sum may differ in its last bit between neighbours, and a target fall in between.
    possible = probability.gather(1, drawn) > 0
    return torch.where(possible, drawn, logits.argmax(-1, keepdim=True)).squeeze(1)
