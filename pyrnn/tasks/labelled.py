"""Labelled texts and labelled numbers: read, turned into ids, and put into batches.

Dimension key: T time, B batch, N examples, F features, C classes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import pyrnn
from pyrnn._configuration import from_mapping, require_choices
from pyrnn._files import read_json, to_json, write_text
from pyrnn._words import counted
from pyrnn.tasks.sentences import SentencesConfig, require_held_out
from pyrnn.train.task import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.data import Groups, PaddedBatches
    from pyrnn.text import LabelledFeatures, LabelledText, Source, Tokenizer

#: Which fields of an example have lengths in common: a label is a sequence of one.
GROUPS = {"lengths": ("token",), "label_lengths": ("label",)}

Labelled = TypeVar("Labelled", "LabelledText", "LabelledFeatures")
Config = TypeVar("Config", bound="LabelledTextsConfig")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassesConfig(SentencesConfig):
    """What counts as good where one class of several is told, beside what `SentencesConfig` says.

    Args:
        class_weights: "balanced" gives every class the same weight in the loss, however rare it is: N / (C
            N_c) to each of its examples. Scores know no weights.
        objective: what "best" and patience mean: "accuracy", macro "f1", or "loss".

    Raises:
        ValueError: as of `SentencesConfig`, or an unknown choice.
    """

    class_weights: Literal["none", "balanced"] = "none"
    objective: Literal["accuracy", "f1", "loss"] = "accuracy"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choices(self, ("class_weights", "objective"))


@dataclass(frozen=True)
class LabelledTextsConfig(SentencesConfig):
    """The labelled texts of a run, beside what `SentencesConfig` says.

    Args:
        text: a file (UTF-8, plain or gzip) of lines "label TAB text", of CSV where its name ends with .csv or
            .csv.gz, or a folder of such files. Where the first line names its columns, those called "label"
            and "text" are read. Several are joined.
        label_column: the column of labels, by its number, or its name in the first line.
        text_column: the column of texts, likewise.
        validation_text: others to validate on, of the same kind; some of each class unless given.
        validation_fraction: how many of its examples those are.
        vocabulary_text: texts without labels whose tokens are in the vocabulary, too. With `vectors` the
            model then knows words that no labelled text has.
        level: tokens are "character", "word" or "subword".
        longest: tokens of a text that are read; what stands behind them is left out.

    Raises:
        ValueError: as of `SentencesConfig`, or an unknown choice.
    """

    label_column: str | None = None
    text_column: str | None = None
    vocabulary_text: str | tuple[str, ...] | None = None
    level: Literal["character", "word", "subword"] = "word"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choices(self, ("level",))


@dataclass(frozen=True)
class LabelledConfig(ClassesConfig, LabelledTextsConfig):
    """The examples of a classifier, beside what `ClassesConfig` and `LabelledTextsConfig` say.

    Args:
        features: instead of `text`, files of the same kinds whose rows are a label and numbers, for a
            feed-forward network. The label is in the column of that name, else in the first.

    Raises:
        ValueError: as of its bases.
    """

    features: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class Labels:
    """What the numbers of a classifier mean.

    Args:
        labels: distinct, by falling frequency.
        mean: [F] of the training set, which is subtracted from numbers; empty for texts.
        deviation: [F], by which they are divided then.
    """

    labels: list[str]
    mean: list[float]
    deviation: list[float]

    @classmethod
    def of(cls, examples: Sequence[LabelledText | LabelledFeatures]) -> Labels:
        """Those of a training set.

        Raises:
            ValueError: it has one class.
        """
        labels = by_frequency([example.label for example in examples])
        numbers = [example for example in examples if isinstance(example, pyrnn.text.LabelledFeatures)]
        if not numbers:
            return cls(labels, [], [])
        rows = _rows(numbers)
        deviation = rows.std(0, correction=0)
        # A number that is the same everywhere tells nothing: it becomes zero.
        return cls(labels, rows.mean(0).tolist(), deviation.masked_fill(deviation == 0, 1).tolist())

    @classmethod
    def load(cls, path: Path) -> Labels:
        """What `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged.
        """
        found = from_mapping(cls, read_json(path), where=str(path))
        if len(set(found.labels)) < max(len(found.labels), 2) or len(found.mean) != len(found.deviation):
            raise ValueError(f"{path} is damaged: expected distinct labels, and as many means as deviations")
        return found

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        write_text(path, to_json(vars(self)) + "\n")

    def ids_of(self, examples: Sequence[LabelledText | LabelledFeatures]) -> list[int]:
        """The class of each example.

        Raises:
            ValueError: a label that is none of them; the message says where it stands.
        """
        return self.places_of((example.label, example.place) for example in examples)

    def places_of(self, labels: Iterable[tuple[str, str]], *, noun: str = "label") -> list[int]:
        """The number of each label, which comes with where it stands.

        Raises:
            ValueError: a label that is none of them; the message says where it stands.
        """
        ids, found = {label: n for n, label in enumerate(self.labels)}, []
        for label, place in labels:
            if label not in ids:
                known = ", ".join(map(repr, self.labels[:10])) + ", ..." * (len(self.labels) > 10)
                raise ValueError(
                    f"{place}: no example that was trained on has the {noun} {label!r}; known are {known}"
                )
            found.append(ids[label])
        return found

    def check_width(self, example: LabelledFeatures) -> None:
        """Refuse an example with another number of numbers than those that were trained on.

        Raises:
            ValueError: so it is.
        """
        if len(example.features) != len(self.mean):
            raise ValueError(
                f"{example.place}: expected {counted(len(self.mean), 'number')} as trained on, got "
                f"{len(example.features)}"
            )

    def standardized(self, examples: Sequence[LabelledFeatures]) -> Tensor:
        """Numbers [N, F] with the training set's mean and deviation taken out, float32.

        Raises:
            ValueError: an example has another number of them.
        """
        for example in examples:
            self.check_width(example)
        rows = _rows(examples)
        return ((rows - rows.new_tensor(self.mean)) / rows.new_tensor(self.deviation)).float()


@dataclass(frozen=True)
class LabelledBatches:
    """Batches of examples, as of `pyrnn.data.PaddedBatches`, with the "weight" [1, B] of each.

    Args:
        padded: the batches; "label" is [1, B], and so is "kind" where there are kinds.
        class_weights: [C] float32; None weighs every example with one.
        kinds: names of the kinds of examples, whose accuracy is told apart.
    """

    padded: PaddedBatches
    class_weights: Tensor | None = None
    kinds: tuple[str, ...] = ()

    @property
    def batch_size(self) -> int:
        """Examples of a full batch."""
        return self.padded.batch_size

    def __len__(self) -> int:
        return len(self.padded)

    def __getitem__(self, step: int) -> Batch:
        """Batch `step`."""
        batch = self.padded[step]
        there = (batch["label"] != pyrnn.losses.IGNORE).float()
        weights = self.class_weights
        return {**batch, "weight": there if weights is None else there * weights[batch["label"].clamp(min=0)]}

    def shard(self, rank: int, world: int) -> LabelledBatches:
        """Part `rank` of `world` of every batch."""
        return replace(self, padded=self.padded.shard(rank, world))


def by_frequency(labels: Sequence[str]) -> list[str]:
    """The distinct labels of a training set, the most frequent first.

    Raises:
        ValueError: there is one.
    """
    counts = Counter(labels)
    if len(counts) < 2:
        raise ValueError(
            f"{counted(len(labels), 'example')} to train on, and the label of all is "
            f"{next(iter(counts))!r}: give examples of at least two classes"
        )
    return sorted(counts, key=lambda label: (-counts[label], label))


def read_texts(source: Source, data: LabelledTextsConfig) -> list[LabelledText]:
    """Examples of files."""
    columns = {
        name: None if column is None else pyrnn.text.as_column(column)
        for name, column in (("label", data.label_column), ("text", data.text_column))
    }
    return list(pyrnn.text.read_labelled_texts(source, **columns))


def read_features(source: Source, data: LabelledConfig) -> list[LabelledFeatures]:
    """Examples of files of numbers."""
    column = None if data.label_column is None else pyrnn.text.as_column(data.label_column)
    return list(pyrnn.text.read_labelled_features(source, label=column))


def split(
    source: Source, data: Config, read: Callable[[Source, Config], list[Labelled]]
) -> tuple[list[Labelled], list[Labelled]]:
    """Examples to train on and to validate on."""
    examples = read(source, data)
    if data.validation_text is not None:
        return examples, read(data.validation_text, data)
    fraction = data.validation_fraction
    training, validation = pyrnn.text.split_labelled(examples, fraction)
    require_held_out(len(validation), len(examples), "example", source=source, fraction=fraction)
    return training, validation


def train_tokenizer(examples: Sequence[LabelledText], data: LabelledTextsConfig) -> Tokenizer:
    """The tokens of the texts to train on and of those without labels."""
    with pyrnn.text.spool() as reusable:  # for subwords are learned in several passes
        others = [] if data.vocabulary_text is None else reusable(data.vocabulary_text)

        def chunks() -> Iterator[str]:
            yield from (f"{_read_as(example.text, data)}\n" for example in examples)
            if others:
                yield from (_read_as(chunk, data) for chunk in pyrnn.text.read_text(others))

        return pyrnn.text.train_tokenizer(
            chunks, level=data.level, max_size=data.max_vocabulary, min_count=data.min_count
        )


def encode_texts(texts: Iterable[str], tokenizer: Tokenizer, data: LabelledTextsConfig) -> list[Tensor]:
    """The ids of each text, as many as are read."""
    ids = [tokenizer.encode(_read_as(text, data)) for text in texts]
    if longer := sum(len(own) > data.longest for own in ids):
        _log.info(
            "%s of %s have more than %s tokens, and are read so far",
            f"{longer:,}",
            counted(len(ids), "text"),
            f"{data.longest:,}",
        )
    return [own[: data.longest] for own in ids]


def encode(
    examples: Sequence[LabelledText], tokenizer: Tokenizer, labels: Labels, data: LabelledTextsConfig
) -> dict[str, list[Tensor]]:
    """Texts and classes as ids."""
    ids = encode_texts((example.text for example in examples), tokenizer, data)
    return {"token": ids, "label": column_of(labels.ids_of(examples))}


def feature_fields(features: Tensor, labels: Tensor) -> dict[str, list[Tensor]]:
    """Rows [N, F] and classes [N] as sequences of one."""
    return {"features": list(features.split(1)), "label": list(labels.split(1))}


def batches_of(
    fields: Mapping[str, Sequence[Tensor]],
    batch_size: int,
    *,
    seed: int | None = None,
    groups: Groups = GROUPS,
) -> LabelledBatches:
    """Batches of what `encode` or `feature_fields` gave; without a seed in the order of the lengths."""
    padded = pyrnn.data.PaddedBatches(
        fields,
        batch_size=batch_size,
        fill={"label": pyrnn.losses.IGNORE},
        seed=seed,
        groups=groups if "token" in fields else None,
    )
    return LabelledBatches(padded)


def balanced_weights(labels: Sequence[Tensor], num_classes: int) -> Tensor:
    """N / (C N_c) of each class, [C] float32: their mean over the examples is one.

    Source: King and Zeng, "Logistic regression in rare events data", 2001.

    Args:
        labels: of each example [1].
        num_classes: C; a class without examples has no weight.
    """
    import torch

    counts = torch.cat(list(labels)).long().bincount(minlength=num_classes)
    return (len(labels) / (num_classes * counts.double())).masked_fill(counts == 0, 0).float()


def _read_as(text: str, data: LabelledTextsConfig) -> str:
    return text.lower() if data.lowercase else text


def column_of(numbers: Sequence[int]) -> list[Tensor]:
    """A number of each example as a sequence of one."""
    import torch

    return list(torch.tensor(numbers).split(1))


def _rows(examples: Sequence[LabelledFeatures]) -> Tensor:
    import torch

    return torch.tensor([example.features for example in examples], dtype=torch.float64)
