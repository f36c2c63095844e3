"""Tagging: a tag for every token of a sentence, learned from sentences whose tokens have one.

Dimension key: T time, B batch, V vocabulary, C tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyrnn
from pyrnn.models.configs import TaggerConfig
from pyrnn.tasks.sentences import answers_of, require_held_out
from pyrnn.tasks.tagged import TaggedTextConfig, TaggerWords, read_tagged
from pyrnn.tasks.words import WordTask, count_unknown
from pyrnn.train.run_folder import Run
from pyrnn.train.task import ANY, Batch, Batches, Loss, Objective, Split, Tables, Unknown, Verb, epoch_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrnn.data import PaddedBatches
    from pyrnn.metrics import Metrics
    from pyrnn.models import Tagger
    from pyrnn.models.pretrained import Pretrained
    from pyrnn.text import Source, TaggedSentence
    from pyrnn.train.config import TrainConfig
    from pyrnn.train.job import Job

VOCABULARY, TRAIN, VALIDATION = "vocab.json", "train.safetensors", "validation.safetensors"

_AT_ONCE = 256  # sentences that `pyrnn tag` reads before it answers


@dataclass(frozen=True)
class TaggedRun(Run):
    """A trained tagger, with what its ids mean."""

    model: Tagger
    words: TaggerWords


class Tagging(WordTask):
    """Cross-entropy of the tags; sentences of like length share a batch."""

    name = "tagger"
    summary = "Train a tagger on annotated sentences: an RNN, GRU or LSTM from both ends, or a transformer."
    unit = "tokens"
    data_config = TaggedTextConfig
    model_config = TaggerConfig
    sizes = ("vocabulary_size", "num_tags", "tags", "num_characters")
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
                "characters": "cnn",
            },
            "train": {"epochs": 8, "learning_rate": 0.006, "weight_decay": 0.01, "decayed": "matrices"},
        },
        "transformer": {"model": {"num_layers": 2, "dropout": 0.2}, "train": {"learning_rate": 0.003}},
    }
    verbs: ClassVar[Mapping[str, Verb]] = {
        "tag": Verb("pyrnn.tasks.tagger:tag_lines"),
    }
    examples = ("RUN --text tagged.tsv", "RUN --text tagged.tsv --architecture transformer")

    def objective_of(self, job: Job) -> Objective:
        """As the job's data say."""
        return Objective(job.data.objective, "max")

    def prepare(self, job: Job, folder: Path) -> dict[str, Any]:
        """Write the sentences as ids, and what the ids mean."""
        data: TaggedTextConfig = job.data
        if not data.text:
            raise ValueError("a tagger needs sentences to learn from: name their file with text")
        if job.model.crf and job.train.label_smoothing:
            raise ValueError(
                "a conditional random field scores whole paths, which have no label_smoothing: set it to 0"
            )
        sentences = read_tagged(data.text, data)
        if data.validation_text is None:
            held_out = round(len(sentences) * data.validation_fraction)
            require_held_out(
                held_out, len(sentences), "sentence", source=data.text, fraction=data.validation_fraction
            )
            sentences, validation = sentences[:-held_out], sentences[-held_out:]
        else:
            validation = read_tagged(data.validation_text, data)
        if job.train.init_from is None:
            words = TaggerWords.of(sentences, validation, data)
        else:
            words = TaggerWords.read(Path(job.train.init_from) / VOCABULARY)
        scheme = pyrnn.metrics.scheme_of(words.tags.tokens)
        if data.objective == "f1" and scheme is None:
            raise ValueError(
                "f1 is a score of spans, and the tags are not those of a scheme of spans: expected O, B-X, "
                f"I-X and the like, got {', '.join(words.tags.tokens[:5])}; set objective to accuracy"
            )
        sizes = words.sizes()
        if scheme is not None and not all(pyrnn.metrics.obeys(own.tags, scheme) for own in sentences):
            sizes["constrained"] = False  # IOB1, say, or nothing but I: its rules are others
        folder.mkdir(parents=True, exist_ok=True)
        words.write(folder / VOCABULARY)
        for name, part in ((TRAIN, sentences), (VALIDATION, validation)):
            pyrnn.data.write_sequences(folder / name, _fields(part, words, job))
        return sizes

    def build(self, job: Job) -> Tagger:
        """A fresh model."""
        return pyrnn.models.Tagger(job.model)

    def batches(self, job: Job, folder: Path, split: Split) -> PaddedBatches:
        """Training in an order that the seed decides, validation by length."""
        sizes = {"token": job.model.vocabulary_size, "tag": job.model.num_tags}
        if job.model.characters != "none":
            sizes["character"] = job.model.num_characters
        fields = pyrnn.data.read_sequences(folder / (TRAIN if split == "train" else VALIDATION), sizes)
        return _batches(fields, job, seed=job.train.seed if split == "train" else None)

    def weight(self, batch: Batch) -> int:
        """Tokens that have a tag."""
        return int((batch["tag"] != pyrnn.losses.IGNORE).sum())

    def loss(
        self, model: nn.Module, batch: Batch, carried: tuple[Tensor, ...] | None, config: TrainConfig
    ) -> Loss:
        """Cross-entropy of the tags, or of whole paths of them."""
        found = model(*_inputs(batch), tag=batch["tag"])
        if found.dim() == 1:
            return Loss(found.sum())
        return Loss(
            pyrnn.losses.sequence_cross_entropy(
                found.float(), batch["tag"], reduction="sum", label_smoothing=config.label_smoothing
            )
        )

    def evaluate(self, model: nn.Module, batches: Batches) -> Metrics:
        """Loss, accuracy (the share of tokens whose tag is found), and for tags of spans their scores."""
        assert isinstance(model, pyrnn.models.Tagger)
        device = next(model.parameters()).device
        losses, hits = pyrnn.metrics.Perplexity(device), pyrnn.metrics.Accuracy(device)
        names = model.config.tags
        spans = pyrnn.metrics.SpanF1(device) if pyrnn.metrics.scheme_of(names) else None
        for batch in epoch_of(batches):
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            tags, lengths = batch["tag"], batch["lengths"]
            logits = model(*_inputs(batch))
            if model.crf is None:
                total = pyrnn.losses.sequence_cross_entropy(logits, tags, reduction="sum")
            else:
                total = model.crf(logits, tags, lengths=lengths, reduction="sum")
            losses.update(total, self.weight(batch))
            found = model.decode(logits, lengths)
            hits.update(found, tags)
            if spans is not None:
                spans.update(*(_tags_of(ids, lengths, names) for ids in (found, tags)))
        return pyrnn.metrics.Combined(losses, hits, *([] if spans is None else [spans]))

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
        return {"embedding.weight": TaggerWords.read(folder / VOCABULARY).tokens.tokens}

    def load(self, folder: Path, job: Job, **options: Any) -> TaggedRun:
        """Model, tokens and tags."""
        words = TaggerWords.read(folder / VOCABULARY)
        for name, found in words.sizes().items():
            told = getattr(job.model, name)
            if told not in (found, ()):  # older runs have no names of tags
                raise ValueError(f"{folder}: {VOCABULARY} has {name} {found}, config.json says {told}")
        model = pyrnn.models.Tagger.from_pretrained(folder, **options)
        return TaggedRun(model, job, pyrnn.train.read_run_metrics(folder), words)

    def read(self, run: Run, source: Source) -> PaddedBatches:
        """Annotated sentences; a tag that training never saw is refused."""
        assert isinstance(run, TaggedRun)
        return _batches(_fields(read_tagged(source, run.job.data), run.words, run.job), run.job, seed=None)

    def unknown(self, run: Run, batches: Batches) -> Unknown | None:
        """Tokens that the vocabulary lacks."""
        assert isinstance(run, TaggedRun)
        parts = (batch["token"][batch["tag"] != pyrnn.losses.IGNORE] for batch in epoch_of(batches))
        return count_unknown(parts, run.words.tokens.unk_id)


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
    fields = run.words.encode(sentences, data, characters=run.model.characters is not None)
    found: dict[int, list[str]] = {}
    for places, logits, lengths in answers_of(run.model, fields, batch_size=batch_size):
        rows = run.model.decode(logits, lengths).T.tolist()
        for place, row, length in zip(places, rows, lengths.tolist(), strict=True):
            found[place] = run.words.tags.tokens_of(row[:length])
    return [found[place] for place in range(len(sentences))]


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


def _fields(sentences: Sequence[TaggedSentence], words: TaggerWords, job: Job) -> dict[str, list[Tensor]]:
    characters = job.model.characters != "none"
    fields = words.encode([own.tokens for own in sentences], job.data, characters=characters)
    known = set(words.tags.tokens)
    for own in sentences:
        if strange := [tag for tag in own.tags if tag not in known]:
            raise ValueError(
                f"the tag {strange[0]!r} of the sentence {' '.join(own.tokens)[:60]!r} is none of those that "
                f"the run was trained on: {', '.join(words.tags.tokens[:20])}"
            )
    return {**fields, "tag": [words.tags.encode(own.tags) for own in sentences]}


def _tags_of(ids: Tensor, lengths: Tensor, names: Sequence[str]) -> list[list[str]]:
    """The tags of each sentence of a batch [T, B]."""
    rows: list[list[int]] = ids.T.tolist()
    return [[names[id] for id in row[:length]] for row, length in zip(rows, lengths.tolist(), strict=True)]


def _inputs(batch: Batch) -> tuple[Tensor, ...]:
    """What the model reads of a batch, in its order."""
    return tuple(batch[name] for name in ("token", "lengths", "character") if name in batch)


def _batches(fields: Mapping[str, Sequence[Tensor]], job: Job, *, seed: int | None) -> PaddedBatches:
    size, fill = job.train.batch_size, {"tag": pyrnn.losses.IGNORE}
    return pyrnn.data.PaddedBatches(fields, batch_size=size, fill=fill, seed=seed)
