"""Beam search for many sources at once.

Dimension key: B sources that still search, K hypotheses of each (the places of the beam), N = B K rows of the
model, V vocabulary, S source tokens, W width of the beam.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrnn.models import StepOutput
from pyrnn.nn import frozen_weights
from pyrnn.search.config import Phrase, SearchConfig
from pyrnn.search.constraints import RequiredPhrases, make_required
from pyrnn.search.decoder import Decoder, evaluating, module_of, pad_prompts, prefill
from pyrnn.search.filtering import float_logits, top_candidates, why_not_finite
from pyrnn.search.hypotheses import Hypothesis, Next, Step, coverage_score, trace_back
from pyrnn.search.native import MOST_WIDTH, NativeBeam, has_kernels, log_partition
from pyrnn.search.prompt_error import PromptError
from pyrnn.search.restrictions import Restrictions, extend_history, make_restrictions, output_limits

#: Steps on a GPU between two looks of the host at what has ended: each look waits for the device.
CHECK_EVERY = 8


def beam_search(
    model: Decoder,
    prompts: Sequence[Tensor],
    config: SearchConfig,
    *,
    eos_id: int | None,
    state: Any = None,
    source_lengths: Tensor | None = None,
    prefixes: Sequence[Tensor] | None = None,
    required: Sequence[Sequence[Phrase]] | None = None,
    suppress_ids: Iterable[int] = (),
    return_attention: bool = False,
) -> list[list[Hypothesis]]:
    """Search the outputs of the best score, with `beam_width` hypotheses of each source side by side.

    Each step takes the likeliest of all continuations of a source's hypotheses, as many as it has places. One
    that ends, by EOS or because it may not be longer, gives its place up: so a beam of one is greedy, and one
    that is wider than there are outputs finds the best of all.

    A source is done when none of its live hypotheses can still beat its `n_best` ended ones. One of
    log-probability l <= 0 whose output may have M tokens ends with a score of at most l / norm(M): its
    probability can only fall, the norm does not fall with the length, and the coverage term is at most 0. So
    nothing is found otherwise than without that end.

    Sums are float64. Of equal scores the hypothesis before wins, then the lower id, at the end the shorter
    output. Sources that are done leave the batch; none depends on its neighbours, but for the rounding of the
    model.

    Args:
        model: runs in evaluation mode and is left in the mode in which it came.
        prompts: B vectors of integers, at least one each: what the decoder reads before it writes, such as
            its token for the beginning. They count in neither score nor length.
        config: width, ranking and rules. A width above V is no error: at first there are fewer hypotheses
            than places.
        eos_id: the token that ends an output; None if none does.
        state: of B sources, what `model.start(source)` gave in evaluation mode; by default `model.start()`.
        source_lengths: [B] int64 tokens of each source; the attention beyond is not looked at.
        prefixes: what each output must begin with: B vectors, perhaps empty, a closing EOS allowed. They
            count in score and length; no rule holds for them.
        required: what each output must contain: B lists, perhaps empty, of ids and of phrases as sequences of
            ids. They may overlap.
        suppress_ids: ids that are never written, beside what `config.forbidden` has.
        return_attention: whether hypotheses have attention, of a model that attends to a source. Not asking
            for it saves time and memory.

    Returns:
        For each source at most `n_best` hypotheses, the best first: fewer where no more were found.

    Raises:
        ValueError: prompts, ids, prefixes or lengths that do not fit; a coverage penalty and a model without
            attention; logits that are not finite.
        PromptError: a ValueError of some prompts: required phrases that do not fit, no room or less than
            `min_tokens`, or no output that the rules allow. The others can be searched without them.

    Sources: Graves, "Sequence transduction with recurrent neural networks", 2012; Sutskever et al., "Sequence
    to sequence learning with neural networks", 2014, section 3.2. An end that loses nothing: Huang et al.,
    "When to finish? Optimal beam search for neural text generation", 2017.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(5, hidden_size=8))
        >>> config = SearchConfig(beam_width=3, n_best=2, max_tokens=6)
        >>> [[best, second]] = beam_search(model, [torch.tensor([0])], config, eos_id=0)
        >>> best.score >= second.score
        True
    """
    padded, lengths = pad_prompts(model, prompts)
    B, V, device = len(prompts), model.vocabulary_size, padded.device
    limits = output_limits(config, B, source_lengths)
    if min(limits) < 1:
        reason = "beam search needs outputs of at least one token: set max_tokens to 1 or more"
        if config.max_tokens_per_source == 0:
            raise ValueError(reason)
        raise PromptError([place for place, limit in enumerate(limits) if limit < 1], reason)
    suppressed = list(suppress_ids)
    rules = make_restrictions(
        config,
        V,
        eos_id=eos_id,
        suppress_ids=suppressed,
        prefixes=prefixes,
        limits=limits,
        device=device,
    )
    needed = None
    if required is not None and any(len(ids) > 0 for ids in required):
        excluded = [*suppressed, *config.forbidden, *([] if eos_id is None else [eos_id])]
        needed = make_required(
            required, V, excluded=excluded, prefixes=prefixes, limits=limits, device=device
        )
    need_weights = return_attention or config.coverage_penalty > 0
    with evaluating(model), frozen_weights(module_of(model)):
        begin = model.start() if state is None else state
        output = prefill(model, padded, begin, lengths, need_weights=need_weights)
        beam: NativeBeam | _Beam
        options = {"keeps_attention": return_attention}
        if _has_native_steps(output.logits, config, needed):
            V = output.logits.shape[-1]
            beam = NativeBeam(config, eos_id, limits, rules, source_lengths, V, **options)
        else:
            beam = _Beam(config, eos_id, limits, rules, needed, source_lengths, device, **options)
        while (following := beam.advance(output)) is not None:
            output = model.step(following.token, following.state(output.state), need_weights=need_weights)
    results = beam.results()
    if empty := [place for place, found in enumerate(results) if not found]:
        raise PromptError(
            empty,
            "no output was found that the rules allow: widen the beam or drop a rule (forbidden or required "
            "phrases, n-grams that must not repeat, the least length)",
        )
    return results


def _has_native_steps(logits: Tensor, config: SearchConfig, required: RequiredPhrases | None) -> bool:
    """Whether a call of C++ does each step: on the CPU, but for what it knows nothing of."""
    return (
        has_kernels(logits)
        and required is None
        and not config.coverage_penalty
        and config.beam_width <= MOST_WIDTH
    )


class _Beam:
    """A search by torch's operators, on any device and with all that may be asked of outputs.

    The live hypotheses are sorted, the best of each source first; places without one have log-probability
    -inf.
    """

    def __init__(
        self,
        config: SearchConfig,
        eos_id: int | None,
        limits: Sequence[int],
        rules: Restrictions,
        required: RequiredPhrases | None,
        source_lengths: Tensor | None,
        device: torch.device,
        *,
        keeps_attention: bool,
    ) -> None:
        B = len(limits)
        self.config, self.eos_id, self.rules, self.required = config, eos_id, rules, required
        self.longest, self.keeps_attention = max(limits), keeps_attention
        self.steps: list[Step] = []
        self.searched = (B, config, eos_id, source_lengths)
        self.sources = torch.arange(B, device=device)
        self.source_lengths = None if source_lengths is None else source_lengths.to(device)
        self.limits = torch.tensor(limits, device=device)
        self.norm_at_limit = torch.tensor(
            [config.norm(n) for n in limits], dtype=torch.float64, device=device
        )
        self.places = torch.full((B, 1), config.beam_width, device=device)
        self.best_ended = torch.full((B, config.n_best), -math.inf, dtype=torch.float64, device=device)
        self.log_probability = torch.zeros(B, 1, dtype=torch.float64, device=device)
        self.written = torch.empty(B, 1, 0, dtype=torch.int64, device=device)
        self.coverage: Tensor | None = None
        self.health = torch.zeros((), dtype=torch.float64, device=device)

    def advance(self, output: StepOutput) -> Next | None:
        """What to read next; None when all ended."""
        log_probability, parent, token = self._choose(output.logits)
        step = len(self.steps) + 1
        ended = (self.limits == step).unsqueeze(1)
        if self.eos_id is not None:
            ended = ended | (token == self.eos_id)
        ended = ended & (log_probability > -math.inf)
        attention = self._cover(output.attention, parent)
        score = self._score(log_probability, step).masked_fill(~ended, -math.inf)
        self.places = self.places - ended.sum(1, keepdim=True)
        self.best_ended = torch.cat([self.best_ended, score], 1).topk(self.config.n_best).values
        live, order = log_probability.masked_fill(ended, -math.inf).sort(dim=1, descending=True, stable=True)
        done = live[:, 0] / self.norm_at_limit <= self.best_ended[:, -1]
        self.steps.append(Step(self.sources, score, log_probability, parent, token, order, attention))
        keep, width = None, order.shape[1]
        if _looks_are_free(live.device) or step % CHECK_EVERY == 0 or step == self.longest:
            if not self.health.isfinite():
                raise ValueError(why_not_finite(self.health))
            if done.all():
                return None
            keep = (~done).nonzero().squeeze(1) if done.any() else None
            width = int((live > -math.inf).sum(1).masked_fill(done, 0).max())
        return self._continue(live, parent, token, order[:, :width], keep)

    def results(self) -> list[list[Hypothesis]]:
        """The `n_best` ended hypotheses of each source, best first."""
        return trace_back(self.steps, *self.searched)

    def _choose(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability, parent and token, [B, W] each, of the continuations that get places."""
        B, K = self.log_probability.shape
        W = self.config.beam_width
        raw = float_logits(logits).view(B, K, -1)
        allowed = self.rules.apply(raw, self.written)
        missing = None
        if self.required is None:
            values, ids = top_candidates(allowed, min(W, raw.shape[2]))
        else:
            left = self.limits - len(self.steps)
            allowed = self.required.restrict(allowed, left=left, eos_id=self.eos_id)
            values, ids, missing = self.required.candidates(allowed, min(W, raw.shape[2]))
        largest, log_sum = log_partition(raw)
        self.health += largest.sum()
        # Those of a row are ranked by their logits, not by their rounded logarithms: a beam of one is greedy.
        log_probability = (values.double() - largest) - log_sum
        total = (self.log_probability.unsqueeze(-1) + log_probability).flatten(1)
        width = min(W, total.shape[1])
        if self.required is None or missing is None:
            found, number = top_candidates(total, width)
        else:
            number = self.required.deal(total, missing.flatten(1), width)
            found = total.gather(1, number)
        found = found.masked_fill(torch.arange(width, device=found.device) >= self.places, -math.inf)
        parent = number.div(ids.shape[2], rounding_mode="floor")
        return found, parent, ids.flatten(1).gather(1, number)

    def _cover(self, attention: Tensor | None, parent: Tensor) -> Tensor | None:
        """The attention [B, K, S] of the rows, if kept; the coverage of what they continue as grows by it."""
        if attention is None:
            if self.config.coverage_penalty:
                raise ValueError(
                    "coverage_penalty needs a model whose steps return attention, and this one has none: set "
                    "it to 0"
                )
            return None
        B, K = self.log_probability.shape
        attention = attention.view(B, K, -1)
        if self.config.coverage_penalty:
            new = attention.double()
            new = new if self.coverage is None else self.coverage + new
            self.coverage = _take(new, parent)
        return attention if self.keeps_attention else None

    def _score(self, log_probability: Tensor, length: int) -> Tensor:
        """[B, K] float64: what hypotheses that end here are ranked by."""
        score = log_probability / self.config.norm(length)
        if self.coverage is None:
            return score
        return score + self.config.coverage_penalty * coverage_score(self.coverage, self.source_lengths)

    def _continue(
        self, live: Tensor, parent: Tensor, token: Tensor, order: Tensor, keep: Tensor | None
    ) -> Next:
        """Place the live hypotheses, of the sources `keep` alone unless that is None."""
        B, K = self.log_probability.shape
        parent, token = parent.gather(1, order), token.gather(1, order)
        base = torch.arange(B, device=parent.device).unsqueeze(1) * K
        self.log_probability = live[:, : order.shape[1]]
        if self.rules.reads_history:
            self.written = _take(self.written, parent)
        self.written = extend_history(self.written, token, kept=self.rules.reads_history)
        if self.required is not None:
            self.required = self.required.follow(parent, token)
        if self.coverage is not None:
            self.coverage = _take(self.coverage, order)
        rows = base + parent
        if keep is not None:
            rows, token = rows[keep], token[keep]
            self._keep(keep)
        rows = rows.flatten()
        within = keep is None and len(rows) == B * K
        stays = within and (
            K == 1 or (_looks_are_free(rows.device) and torch.equal(rows, torch.arange(len(rows))))
        )
        return Next(token.flatten(), None if stays else rows, within)

    def _keep(self, keep: Tensor) -> None:
        """Let all other sources leave."""
        for name in (
            "sources",
            "limits",
            "norm_at_limit",
            "places",
            "best_ended",
            "log_probability",
            "written",
        ):
            setattr(self, name, getattr(self, name)[keep])
        if self.coverage is not None:
            self.coverage = self.coverage[keep]
        if self.source_lengths is not None:
            self.source_lengths = self.source_lengths[keep]
        if self.required is not None:
            self.required = self.required.select(keep)
        self.rules = self.rules.select(keep)


def _looks_are_free(device: torch.device) -> bool:
    """Whether the host need not wait to see a number."""
    return device.type == "cpu"


def _take(values: Tensor, places: Tensor) -> Tensor:
    """values [B, K, ...] of the places [B, K'] of each source."""
    return values[torch.arange(len(values), device=values.device).unsqueeze(1), places]
