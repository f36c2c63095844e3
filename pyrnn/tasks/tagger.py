"""Tagging: a tag for every token of a sentence, learned from sentences whose tokens have one.

Dimension key: T time, B batch, V vocabulary, C tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyrnn
from pyrnn._configuration import from_mapping
from pyrnn._files import read_json, to_json, write_text
from pyrnn.models.configs import TaggerConfig
from pyrnn.tasks.sentences import SentencesConfig, logits_of, require_held_out
from pyrnn.tasks.words import WordTask, count_unknown
from pyrnn.train.run_folder import Run
from pyrnn.train.task import ANY, Batch, Batches, Loss, Objective, Split, Tables, Unknown, Verb, epoch_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrnn.data import PaddedBatches
    from pyrnn.metrics import Metrics
    from pyrnn.models import Tagger
    from pyrnn.models.pretrained import Pretrained
    from pyrnn.text import Source, TaggedSentence, Vocabulary
    from pyrnn.train.config import TrainConfig
    from pyrnn.train.job import Job

VOCABULARY, TRAIN, VALIDATION = "vocab.json", "train.safetensors", "validation.safetensors"
UNKNOWN = "<unk>"

_AT_ONCE = 256  # sentences that `pyrnn tag` reads before it answers


@dataclass(frozen=True)
class TaggedTextConfig(SentencesConfig):
    """The sentences of a run, beside what `SentencesConfig` says.

    Args:
        text: a file (UTF-8, plain or gzip) of lines "token TAB tag", a blank line after each sentence, or a
            folder of such files. Several are joined in their order.
        validation_text: others to validate on; the last sentences of `text` unless given.
        longest: longer sentences are refused: a batch is padded to its longest one.
    """


@dataclass(frozen=True)
class Vocabularies:
    """What the ids of a tagger mean.

    Args:
        tokens: distinct, `UNKNOWN` first.
        tags: distinct, by falling frequency.
    """

    tokens: list[str]
    tags: list[str]


@dataclass(frozen=True)
class TaggedRun(Run):
    """A trained tagger, with what its ids mean."""

    model: Tagger
    tokens: Vocabulary
    tags: Vocabulary


class Tagging(WordTask):
    """Cross-entropy of the tags; sentences of like length share a batch."""

    name = "tagger"
    summary = "Train a tagger on annotated sentences: an RNN, GRU or LSTM from both ends, or a transformer."
    unit = "tokens"
    data_config = TaggedTextConfig
    model_config = TaggerConfig
    sizes = ("vocabulary_size", "num_tags")
    vocabulary_settings = ("lowercase", "max_vocabulary", "min_count")
    files = (VOCABULARY, TRAIN, VALIDATION)
    objective = Objective("accuracy", "max")
    defaults: ClassVar[Mapping[str, Tables]] = {
        ANY: {
            "model": {
                "embedding_size": 100,
                "hidden_size": 128,
                "num_layers": 1,
                "dropout": 0.3,
                "input_dropout": 0.2,
            },
            "train": {"epochs": 8, "learning_rate": 0.006, "weight_decay": 0.01, "decayed": "matrices"},
        },
        "transformer": {"model": {"num_layers": 2, "dropout": 0.2}, "train": {"learning_rate": 0.003}},
    }
    verbs: ClassVar[Mapping[str, Verb]] = {
        "tag": Verb("pyrnn.tasks.tagger:tag_lines"),
    }
    examples = ("RUN --text tagged.tsv", "RUN --text tagged.tsv --architecture transformer")

    def prepare(self, job: Job, folder: Path) -> dict[str, int]:
        """Write the sentences as ids, and what the ids mean."""
        data: TaggedTextConfig = job.data
        if not data.text:
            raise ValueError("a tagger needs sentences to learn from: name their file with text")
        sentences = _read(data.text, data)
        if data.validation_text is None:
            held_out = round(len(sentences) * data.validation_fraction)
            require_held_out(
                held_out, len(sentences), "sentence", source=data.text, fraction=data.validation_fraction
            )
            sentences, validation = sentences[:-held_out], sentences[-held_out:]
        else:
            validation = _read(data.validation_text, data)
        if job.train.init_from is None:
            tokens = pyrnn.text.Vocabulary.from_counts(
                Counter(token for sentence in sentences for token in sentence.tokens),
                max_size=data.max_vocabulary,
                min_count=data.min_count,
                unk=UNKNOWN,
            )
            tags = pyrnn.text.Vocabulary.from_counts(
                Counter(tag for sentence in (*sentences, *validation) for tag in sentence.tags)
            )
        else:
            tokens, tags = _read_vocabularies(Path(job.train.init_from) / VOCABULARY)
        folder.mkdir(parents=True, exist_ok=True)
        words = {"tokens": list(tokens.tokens), "tags": list(tags.tokens)}
        write_text(folder / VOCABULARY, to_json(words) + "\n")
        for name, part in ((TRAIN, sentences), (VALIDATION, validation)):
            pyrnn.data.write_sequences(folder / name, _encode(part, tokens, tags))
        return {"vocabulary_size": len(tokens), "num_tags": len(tags)}

    def build(self, job: Job) -> Tagger:
        """A fresh model."""
        return pyrnn.models.Tagger(job.model)

    def batches(self, job: Job, folder: Path, split: Split) -> PaddedBatches:
        """Training in an order that the seed decides, validation by length."""
        sizes = {"token": job.model.vocabulary_size, "tag": job.model.num_tags}
        fields = pyrnn.data.read_sequences(folder / (TRAIN if split == "train" else VALIDATION), sizes)
        return _batches(fields, job, seed=job.train.seed if split == "train" else None)

    def weight(self, batch: Batch) -> int:
        """Tokens that have a tag."""
        return int((batch["tag"] != pyrnn.losses.IGNORE).sum())

    def loss(
        self, model: nn.Module, batch: Batch, carried: tuple[Tensor, ...] | None, config: TrainConfig
    ) -> Loss:
        """Cross-entropy of the tags."""
        logits = model(batch["token"], lengths=batch["lengths"])
        return Loss(
            pyrnn.losses.sequence_cross_entropy(
                logits.float(), batch["tag"], reduction="sum", label_smoothing=config.label_smoothing
            )
        )

    def evaluate(self, model: nn.Module, batches: Batches) -> Metrics:
        """Loss, and accuracy: the share of tokens whose likeliest tag is theirs."""
        device = next(model.parameters()).device
        losses, hits = pyrnn.metrics.Perplexity(device), pyrnn.metrics.Accuracy(device)
        for batch in epoch_of(batches):
            tags = batch["tag"].to(device)
            logits = model(batch["token"].to(device), lengths=batch["lengths"].to(device))
            total = pyrnn.losses.sequence_cross_entropy(logits, tags, reduction="sum")
            losses.update(total, self.weight(batch))
            hits.update(logits.argmax(-1), tags)
        return pyrnn.metrics.Combined(losses, hits)

    def sizes_of(self, model: Pretrained, batches: Batches) -> dict[str, int]:
        """Sentences of an epoch, tokens of the vocabulary, and tags."""
        assert isinstance(batches, pyrnn.data.PaddedBatches)
        config = model.config
        return {
            "sentences": batches.sequences,
            "vocabulary": config.vocabulary_size,
            "tags": config.num_tags,
        }

    def word_tables(self, job: Job, folder: Path) -> dict[str, tuple[str, ...]]:
        """The vectors of tokens."""
        tokens, _ = _read_vocabularies(folder / VOCABULARY)
        return {"embedding.weight": tokens.tokens}

    def load(self, folder: Path, job: Job, **options: Any) -> TaggedRun:
        """Model, tokens and tags."""
        tokens, tags = _read_vocabularies(folder / VOCABULARY)
        found = (len(tokens), len(tags))
        if found != (told := (job.model.vocabulary_size, job.model.num_tags)):
            raise ValueError(f"{folder}: {VOCABULARY} has {found} tokens and tags, config.json says {told}")
        model = pyrnn.models.Tagger.from_pretrained(folder, **options)
        return TaggedRun(model, job, pyrnn.train.read_run_metrics(folder), tokens, tags)

    def read(self, run: Run, source: Source) -> PaddedBatches:
        """Annotated sentences; a tag that training never saw is refused."""
        assert isinstance(run, TaggedRun)
        return _batches(_encode(_read(source, run.job.data), run.tokens, run.tags), run.job, seed=None)

    def unknown(self, run: Run, batches: Batches) -> Unknown | None:
        """Tokens that the vocabulary lacks."""
        assert isinstance(run, TaggedRun)
        parts = (batch["token"][batch["tag"] != pyrnn.losses.IGNORE] for batch in epoch_of(batches))
        return count_unknown(parts, run.tokens.unk_id)


def tag_sentences(
    run: TaggedRun, sentences: Sequence[Sequence[str]], *, batch_size: int = 64
) -> list[list[str]]:
    """The likeliest tag of every token.

    Args:
        run: a trained tagger.
        sentences: tokens of each, at least one.
        batch_size: sentences that are read side by side; it does not change a tag, but for rounding.

    Raises:
        ValueError: an empty sentence, or one longer than the run's `longest`; or the model gives NaN.
    """
    data: TaggedTextConfig = run.job.data
    for sentence in sentences:
        if not 0 < len(sentence) <= data.longest:
            raise ValueError(f"a sentence must have 1 to {data.longest} tokens, got {len(sentence)}")
    ids = [run.tokens.encode(_read_as(sentence, data)) for sentence in sentences]
    found = logits_of(run.model, ids, batch_size=batch_size)
    return [run.tags.tokens_of(logits[: len(own)].argmax(-1)) for logits, own in zip(found, ids, strict=True)]


def tag_lines(run: TaggedRun, lines: Iterable[str]) -> Iterator[str]:
    r"""Read sentences from standard input, one token a line, and print each token and its tag, a tab between.

      printf 'the\nend\n' | pyrnn tag runs/tagger

    A blank line ends a sentence.
    """
    reader = pyrnn.text.as_lines(lines)
    sentences = pyrnn.text.read_sentences(reader)
    for part in pyrnn.text.gathered(sentences, lambda: reader.paragraph_ready, most=_AT_ONCE):
        for tokens, tags in zip(part, tag_sentences(run, part), strict=True):
            yield from (f"{token}\t{tag}" for token, tag in zip(tokens, tags, strict=True))
            yield ""


def _read_vocabularies(path: Path) -> tuple[Vocabulary, Vocabulary]:
    """Tokens and tags of a run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    words = from_mapping(Vocabularies, read_json(path), where=str(path))
    try:
        return pyrnn.text.Vocabulary(words.tokens, unk=UNKNOWN), pyrnn.text.Vocabulary(words.tags)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read(source: Source, data: TaggedTextConfig) -> list[TaggedSentence]:
    sentences = list(pyrnn.text.read_columns(source))
    longest = max(len(sentence.tokens) for sentence in sentences)
    if longest > data.longest:
        raise ValueError(
            f"{pyrnn.text.source_name(source)} has a sentence of {longest} tokens, longest allows "
            f"{data.longest}"
        )
    return [sentence._replace(tokens=_read_as(sentence.tokens, data)) for sentence in sentences]


def _read_as(tokens: Iterable[str], data: TaggedTextConfig) -> list[str]:
    return [token.lower() for token in tokens] if data.lowercase else list(tokens)


def _encode(
    sentences: Iterable[TaggedSentence], tokens: Vocabulary, tags: Vocabulary
) -> dict[str, list[Tensor]]:
    pairs = [(tokens.encode(sentence.tokens), tags.encode(sentence.tags)) for sentence in sentences]
    return {"token": [token for token, _ in pairs], "tag": [tag for _, tag in pairs]}


def _batches(fields: Mapping[str, Sequence[Tensor]], job: Job, *, seed: int | None) -> PaddedBatches:
    size, fill = job.train.batch_size, {"tag": pyrnn.losses.IGNORE}
    return pyrnn.data.PaddedBatches(fields, batch_size=size, fill=fill, seed=seed)
