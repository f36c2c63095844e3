"""Tokens drawn from a decoder, one a step, for a batch of prompts at once.

Dimension key: T time, B batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrnn.models import StepOutput
from pyrnn.nn import frozen_weights
from pyrnn.search.config import SamplingConfig
from pyrnn.search.decoder import Decoder, evaluating, module_of, pad_prompts, prefill
from pyrnn.search.filtering import filter_logits, float_logits, likeliest
from pyrnn.search.native import has_kernels, likeliest_tokens
from pyrnn.search.restrictions import Restrictions, make_restrictions, output_limits, unread_history

#: What `generate` yields for a row that has ended.
FINISHED = -1


def generate(
    model: Decoder,
    prompts: Sequence[Tensor],
    config: SamplingConfig,
    *,
    state: Any = None,
    source_lengths: Tensor | None = None,
    prefixes: Sequence[Tensor] | None = None,
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
        state: of B sources, what `model.start(source)` gave in evaluation mode; by default `model.start()`.
        source_lengths: [B] int64 tokens of each source, for `config.max_tokens_per_source`.
        prefixes: what each row is to begin with, B vectors, perhaps empty: they are yielded before the first
            draw, and no rule holds for them.
        suppress_ids: ids that are never drawn.
        eos_id: the token that ends a row if `config.stop_at_eos`.
        generator: source of the draws, on any device; by default torch's global one of the CPU. One uniform
            number is taken for each row and step.

    Returns:
        An iterator over [B] int64 on the model's device: the next token of each row. A row that has drawn
        the token that ends it, or as many as it may have, gives `FINISHED` (-1) from then on. The iterator
        ends when every row has.

    Raises:
        ValueError: no prompts, one that is empty or no vector of integers, ids outside [0, V), `stop_at_eos`
            without `eos_id`, prefixes or lengths that do not fit; while iterating, as `filter_logits`.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(5))
        >>> prompts = [torch.tensor([1, 2, 3]), torch.tensor([4])]
        >>> tokens = torch.stack(list(generate(model, prompts, SamplingConfig(max_tokens=7))))
        >>> tokens.shape
        torch.Size([7, 2])
    """
    padded, lengths = pad_prompts(model, prompts)
    if config.stop_at_eos and eos_id is None:
        raise ValueError(
            "stop_at_eos needs an end-of-sentence token: give eos_id, or set stop_at_eos to false"
        )
    limits = output_limits(config, len(prompts), source_lengths)
    rules = make_restrictions(
        config,
        model.vocabulary_size,
        eos_id=eos_id,
        suppress_ids=suppress_ids,
        prefixes=prefixes,
        limits=limits,
        device=padded.device,
    )
    stop = eos_id if config.stop_at_eos else None
    start = model.start() if state is None else state
    return _tokens(model, start, padded, lengths, config, rules, limits, stop, generator)


def _tokens(
    model: Decoder,
    state: Any,
    prompts: Tensor,
    lengths: Tensor | None,
    config: SamplingConfig,
    rules: Restrictions,
    limits: list[int],
    stop: int | None,
    generator: torch.Generator | None,
) -> Iterator[Tensor]:
    """What `generate` returns, for the padded prompts [N, T] and, where they differ, their lengths [N]."""
    output: StepOutput | None = None
    tokens = prompts
    finished = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    some_finished, shortest = False, min(limits)
    written = prompts.new_empty(len(prompts), 1, 0)
    last = torch.tensor(limits, device=prompts.device)
    frozen = frozen_weights(module_of(model))
    for step in range(max(limits)):
        with evaluating(model), frozen:  # between two tokens the model is the caller's
            if output is None:
                output = prefill(model, prompts, state, lengths)
            else:
                output = model.step(tokens, output.state)
            written = written if rules.reads_history else unread_history(len(prompts), 1, step)
            tokens = _next_tokens(output.logits, written, config, rules, generator)
            if rules.reads_history:
                written = torch.cat([written, tokens.view(-1, 1, 1)], -1)
        if step >= shortest:
            finished |= last <= step
            some_finished = True
        # A copy, whatever: the caller may write into it, and the model still has to read the tokens.
        yield tokens.masked_fill(finished, FINISHED) if some_finished else tokens.clone()
        if stop is not None and (some_finished or (tokens == stop).any()):
            finished |= tokens == stop
            some_finished = True
            if finished.all():
                return


def _next_tokens(
    logits: Tensor,
    written: Tensor,
    config: SamplingConfig,
    rules: Restrictions,
    generator: torch.Generator | None,
) -> Tensor:
    """A token [B] behind each of the outputs `written` [B, 1, T]."""
    greedy, T = config.temperature == 0, written.shape[2]
    if greedy and has_kernels(logits) and not rules.asks_rows(T):
        tokens = likeliest_tokens(logits, rules.never_next(T))
        if tokens is not None:
            return tokens
    allowed = rules.apply(float_logits(logits).unsqueeze(1), written).squeeze(1)
    return likeliest(allowed) if greedy else _draw(filter_logits(allowed, config), generator)


def _draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """A token [B] of each row of filtered logits [B, V].

    Inverse of the distribution function: one uniform number a row instead of the V that torch.multinomial
    takes, which for a large vocabulary costs more than the model; and it may come from any device.
    """
    probability = logits.softmax(-1)
    cumulative = probability.cumsum(-1, dtype=torch.float64)
    source = torch.device("cpu") if generator is None else generator.device
    uniform = torch.rand(logits.shape[0], 1, dtype=torch.float64, generator=generator, device=source)
    target = uniform.to(logits.device) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, target, right=True).clamp_(max=logits.shape[1] - 1)
    # A parallel sum may differ in its last bit between neighbours, and a target fall in between.
    possible = probability.gather(1, drawn) > 0
    return torch.where(possible, drawn, logits.argmax(-1, keepdim=True)).squeeze(1)
