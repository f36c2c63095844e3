"""Question answering: which of the known answers a question about a story has, many to one.

Dimension key: T time, B batch, S sentences, V vocabulary, C answers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyrnn
from pyrnn._files import read_json, to_json, write_text
from pyrnn._words import counted
from pyrnn.models.configs import ReaderConfig
from pyrnn.tasks import labelled
from pyrnn.tasks.classifier import LABELS, TRAIN, VALIDATION, VOCABULARY, Classification, ClassifierRun
from pyrnn.tasks.labelled import ClassesConfig, LabelledBatches, Labels
from pyrnn.tasks.sentences import require_held_out
from pyrnn.train.run_folder import Run
from pyrnn.train.task import ANY, Split, Tables, Verb

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.models import Reader
    from pyrnn.text import Source, StoryQuestion, Tokenizer
    from pyrnn.train.job import Job

KINDS = "kinds.json"

#: Which fields of an example have lengths in common: answer and kind are sequences of one.
GROUPS = {"lengths": ("token", "sentence"), "label_lengths": ("label", "kind")}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuestionsConfig(ClassesConfig):
    """The stories and questions of a run, beside what `ClassesConfig` says.

    Args:
        text: a file (UTF-8, plain or gzip) of stories with questions and answers, in the format of the bAbI
            tasks, or a folder of such files; or stories that are made in code: "stories" for all kinds, or
            "one-fact", "two-facts", "relations", "deduction" or "table" (each also with -test behind it).
            Several are joined.
        validation_text: others to validate on; some of the stories of `text` unless given.
        validation_fraction: how many of its stories those are.
        min_count: words that occur less often become <unk>, so that the model learns what it means.
        longest: words of a story and its question that are read; of a longer one the first sentences are
            left out.

    Raises:
        ValueError: as of `ClassesConfig`.
    """

    text: str | tuple[str, ...] = "stories"
    min_count: int = 1


class QuestionAnswering(Classification):
    """Cross-entropy of the answers; a story and a question are an example."""

    name = "questions"
    summary = (
        "Train a reader that answers questions about stories: the last state of an RNN, GRU or LSTM, or "
        "attention whose query is the question."
    )
    unit = "questions"
    data_config = QuestionsConfig
    model_config = ReaderConfig
    vocabulary_settings = ("lowercase", "max_vocabulary", "min_count")
    files = (VOCABULARY, LABELS, KINDS, TRAIN, VALIDATION)
    defaults: ClassVar[Mapping[str, Tables]] = {
        ANY: {
            "model": {
                "architecture": "gru",
                "embedding_size": 64,
                "hidden_size": 64,
                "num_layers": 1,
                "dropout": 0.1,
            },
            "train": {
                "epochs": 20,
                "batch_size": 64,
                "learning_rate": 0.003,
                "warmup_steps": 100,
                "weight_decay": 0.001,
                "decayed": "matrices",
            },
        },
    }
    verbs: ClassVar[Mapping[str, Verb]] = {
        "answer": Verb("pyrnn.cli.answer:answer", whole=True),
    }
    examples = (
        "RUN",
        "RUN --text one-fact --text table",
        "RUN --text stories.txt --pooling last --architecture lstm",
    )

    groups = GROUPS

    @property
    def model_class(self) -> type[Reader]:
        """What is built and loaded."""
        return pyrnn.models.Reader

    def prepare(self, job: Job, folder: Path) -> dict[str, int]:
        """Write stories with their questions as ids, and what they mean."""
        data: QuestionsConfig = job.data
        examples = read_examples(data.text)
        if data.validation_text is not None:
            training, validation = examples, read_examples(data.validation_text)
        else:
            fraction = data.validation_fraction
            training, validation = pyrnn.text.split_questions(examples, fraction)
            require_held_out(len(validation), len(examples), "question", source=data.text, fraction=fraction)
        start = job.train.init_from
        if start is None:
            texts = [" ".join([*each.story, each.question]) for each in training]
            tokenizer = pyrnn.text.train_tokenizer(
                lambda: (f"{_read_as(text, data)}\n" for text in texts),
                level="word",
                max_size=data.max_vocabulary,
                min_count=data.min_count,
            )
            labels = Labels(labelled.by_frequency([each.answer for each in training]), [], [])
        else:
            tokenizer = pyrnn.text.Tokenizer.load(Path(start) / VOCABULARY)
            labels = Labels.load(Path(start) / LABELS)
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder / VOCABULARY)
        labels.save(folder / LABELS)
        kinds = {"train": kinds_of(training), "validation": kinds_of(validation)}
        write_text(folder / KINDS, to_json(kinds) + "\n")
        for name, part in ((TRAIN, training), (VALIDATION, validation)):
            fields = encode(part, tokenizer, data) | answer_fields(part, labels)
            pyrnn.data.write_sequences(folder / name, fields, groups=GROUPS)
        return {"vocabulary_size": len(tokenizer), "num_classes": len(labels.labels), "num_features": 1}

    def fields(self, job: Job, path: Path) -> dict[str, list[Tensor]]:
        """The examples of a file that `prepare` wrote."""
        sizes = {
            "token": job.model.vocabulary_size,
            "sentence": job.data.longest + 1,
            "label": job.model.num_classes,
            "kind": len(self._kinds(path.parent, "train" if path.name == TRAIN else "validation")),
        }
        return pyrnn.data.read_sequences(path, sizes, groups=GROUPS)

    def batches(self, job: Job, folder: Path, split: Split) -> LabelledBatches:
        """Training in an order that the seed decides, validation by length; with the kinds of questions."""
        return replace(super().batches(job, folder, split), kinds=self._kinds(folder, split))

    def read(self, run: Run, source: Source) -> LabelledBatches:
        """Stories and questions; an answer that training never saw is refused."""
        assert isinstance(run, ClassifierRun)
        assert run.tokenizer is not None
        examples = read_examples(source)
        fields = encode(examples, run.tokenizer, run.job.data) | answer_fields(examples, run.labels)
        batches = labelled.batches_of(fields, run.job.train.batch_size, groups=self.groups)
        return replace(batches, kinds=kinds_of(examples))

    def _kinds(self, folder: Path, split: Split) -> tuple[str, ...]:
        path = folder / KINDS
        found = read_json(path).get(split)
        if not isinstance(found, list) or not found or not all(isinstance(kind, str) for kind in found):
            raise ValueError(f"{path} is damaged: expected the names of the kinds of questions to {split} on")
        return tuple(found)


def read_examples(source: Source) -> list[StoryQuestion]:
    """The questions of files, and of stories that are made in code where they are named."""
    found: list[StoryQuestion] = []
    for each in [source] if isinstance(source, str | Path) else source:
        if str(each) in pyrnn.corpora.STORY_NAMES:
            found += pyrnn.corpora.named_stories(str(each))
        else:
            found += pyrnn.text.read_questions(each)
    return found


def kinds_of(questions: Sequence[StoryQuestion]) -> tuple[str, ...]:
    """The kinds of questions in the order in which they come."""
    return tuple(dict.fromkeys(each.kind for each in questions))


def encode(
    questions: Sequence[StoryQuestion], tokenizer: Tokenizer, data: QuestionsConfig
) -> dict[str, list[Tensor]]:
    """Each story and its question as ids [T], and which sentence each is of: the question is 0.

    Sentences are counted from 1 among those that `sentences_read` gives.

    Raises:
        ValueError: a question that is too long by itself, or has nothing that could be read.
    """
    import torch

    fields: dict[str, list[Tensor]] = {"token": [], "sentence": []}
    cut = 0
    for each in questions:
        read = sentences_read(each, tokenizer, data)
        question = tokenizer.encode(_read_as(each.question, data))
        parts = [*read.values(), question]
        cut += 0 not in read
        fields["token"].append(torch.cat(parts))
        numbers = torch.tensor([*range(1, len(parts)), 0])
        fields["sentence"].append(numbers.repeat_interleave(torch.tensor([*map(len, parts)])))
    if cut:
        _log.info(
            "%s of %s are longer than %s words: their first sentences are left out",
            f"{cut:,}",
            counted(len(questions), "story", "stories"),
            f"{data.longest:,}",
        )
    return fields


def sentences_read(question: StoryQuestion, tokenizer: Tokenizer, data: QuestionsConfig) -> dict[int, Tensor]:
    """The ids of the sentences of a story that are read, by their places: those that fit, from the last one.

    Raises:
        ValueError: as `encode`.
    """
    room = data.longest - (length := len(tokenizer.encode(_read_as(question.question, data))))
    if not 0 < length <= data.longest:
        raise ValueError(
            f"{question.place}: expected a question of 1 to {data.longest:,} words (longest), got {length}"
        )
    found: dict[int, Tensor] = {}
    for place in reversed(range(len(question.story))):
        ids = tokenizer.encode(_read_as(question.story[place], data))
        room -= len(ids)
        if room < 0:
            break
        found[place] = ids
    return {place: found[place] for place in sorted(found) if len(found[place])}


def answer_fields(questions: Sequence[StoryQuestion], labels: Labels) -> dict[str, list[Tensor]]:
    """Answers and kinds as ids.

    Raises:
        ValueError: an answer that training never saw.
    """
    answers = labels.places_of(((each.answer, each.place) for each in questions), noun="answer")
    kinds = kinds_of(questions)
    numbers = [kinds.index(each.kind) for each in questions]
    return {"label": labelled.column_of(answers), "kind": labelled.column_of(numbers)}


def _read_as(text: str, data: QuestionsConfig) -> str:
    return text.lower() if data.lowercase else text
