"""What tasks on single sentences have in common, whether they tell one thing of each or one of each token.

Dimension key: T time, B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyrnn
from pyrnn._configuration import require_range
from pyrnn._words import counted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrnn.text import Source


@dataclass(frozen=True)
class SentencesConfig:
    """The sentences of a run, and the tokens that become ids.

    Args:
        text: files of sentences. Several are joined in their order.
        validation_text: others to validate on; some of `text` unless given.
        validation_fraction: how many of its sentences those are.
        lowercase: read tokens without regard to capitals.
        max_vocabulary: keep the most frequent tokens only, the others become <unk>.
        min_count: tokens that occur less often become <unk>, so that the model learns what it means.
        longest: tokens that a sentence may have.

    Raises:
        ValueError: a fraction outside (0, 1), or a count below one or beyond 64 bits.
    """

    text: str | tuple[str, ...] = ""
    validation_text: str | tuple[str, ...] | None = None
    validation_fraction: float = 0.1
    lowercase: bool = False
    max_vocabulary: int | None = None
    min_count: int = 2
    longest: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}")
        require_range(self, ("min_count", "longest"), least=1)
        if self.max_vocabulary is not None:
            require_range(self, ("max_vocabulary",), least=2)


class Answers(NamedTuple):
    """What a model says of a batch.

    Args:
        places: which sentences these are.
        logits: [T, B, C] or [B, C], on the model's device.
        lengths: [B].
    """

    places: list[int]
    logits: Tensor
    lengths: Tensor


def require_held_out(held_out: int, total: int, noun: str, *, source: Source, fraction: float) -> None:
    """Refuse a text of which nothing is left to train on, or to validate on.

    Args:
        held_out: how many are to be validated on.
        total: of so many.
        noun: what they are.
        source: where they come from.
        fraction: which of them are to be held out.

    Raises:
        ValueError: so it is.
    """
    if not 0 < held_out < total:
        raise ValueError(
            f"{pyrnn.text.source_name(source)} has {counted(total, noun)}, too few to hold out "
            f"{fraction:.0%} of them: give a longer text or a validation_text"
        )


def logits_of(model: nn.Module, ids: Sequence[Tensor], *, batch_size: int) -> list[Tensor]:
    """What a model says of each sentence that is no more than its tokens, as `answers_of`.

    Returns:
        Of each sentence [T, C], which means nothing beyond its own length, or [C]; on the CPU.
    """
    found: dict[int, Tensor] = {}
    for answer in answers_of(model, {"token": ids}, batch_size=batch_size):
        found |= zip(answer.places, answer.logits.cpu().unbind(-2), strict=True)
    return [found[place] for place in range(len(ids))]


def answers_of(
    model: nn.Module, fields: Mapping[str, Sequence[Tensor]], *, batch_size: int
) -> Iterator[Answers]:
    """What a model says of sentences, batch by batch; those of like length side by side.

    Args:
        model: called as `model(token [T, B], lengths=[B], **others)`; gives [T, B, C], or [B, C].
        fields: "token", of each sentence [T_i] ids, T_i at least 1, and others that the model reads.
        batch_size: sentences that are read side by side; it does not change the result, but for rounding.

    Raises:
        ValueError: the model gives NaN.
    """
    device = next(model.parameters()).device
    tokens = fields["token"]
    places = sorted(range(len(tokens)), key=lambda place: -len(tokens[place]))
    with pyrnn.search.evaluating(model):
        for begin in range(0, len(places), batch_size):
            part = places[begin : begin + batch_size]
            chosen = {name: [own[p] for p in part] for name, own in fields.items()}
            (batch,) = pyrnn.data.PaddedBatches(chosen, batch_size=len(part))
            given = {name: tensor.to(device) for name, tensor in batch.items()}
            logits = finite_logits(model(given.pop("token"), **given))
            yield Answers(part, logits, given["lengths"])


def finite_logits(logits: Tensor) -> Tensor:
    """The same logits.

    Raises:
        ValueError: they are not finite.
    """
    if not bool(logits.isfinite().all()):
        raise ValueError("logits are not finite: the weights are damaged; did training diverge?")
    return logits
