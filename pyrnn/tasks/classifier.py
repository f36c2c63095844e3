"""Classification: one of several classes for a text or for a list of numbers, learned from labelled ones.

Dimension key: T time, B batch, F features, V vocabulary, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyrnn
from pyrnn.models.configs import ClassifierConfig
from pyrnn.tasks import labelled
from pyrnn.tasks.labelled import LabelledBatches, LabelledConfig, Labels
from pyrnn.tasks.words import WordTask, count_unknown
from pyrnn.train.run_folder import Run
from pyrnn.train.task import ANY, Batch, Batches, Loss, Objective, Split, Tables, Unknown, Verb, epoch_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrnn.data import Groups
    from pyrnn.metrics import Metrics
    from pyrnn.models import Classifier
    from pyrnn.models.pretrained import Pretrained
    from pyrnn.text import Source, Tokenizer
    from pyrnn.train.config import TrainConfig
    from pyrnn.train.job import Job

VOCABULARY, LABELS, TRAIN, VALIDATION = (
    "vocab.json",
    "labels.json",
    "train.safetensors",
    "validation.safetensors",
)


@dataclass(frozen=True)
class ClassifierRun(Run):
    """A trained classifier, with what its numbers mean; one of numbers has no tokenizer."""

    model: Classifier
    labels: Labels
    tokenizer: Tokenizer | None


class Classification(WordTask):
    """Cross-entropy of the classes; texts of like length share a batch."""

    name = "classifier"
    summary = (
        "Train a classifier of texts: averaged vectors, an RNN, GRU or LSTM, a transformer; or of numbers, a "
        "feed-forward network."
    )
    unit = "examples"
    data_config = LabelledConfig
    model_config = ClassifierConfig
    sizes = ("vocabulary_size", "num_classes", "num_features")
    vocabulary_settings = ("level", "lowercase", "max_vocabulary", "min_count", "vocabulary_text")
    files = (VOCABULARY, LABELS, TRAIN, VALIDATION)
    objective = Objective("accuracy", "max")
    #: Which fields of an example have lengths in common; numbers are a field by themselves.
    groups: ClassVar[Groups] = labelled.GROUPS
    defaults: ClassVar[Mapping[str, Tables]] = {
        ANY: {
            "model": {
                "embedding_size": 100,
                "hidden_size": 128,
                "num_layers": 1,
                "dropout": 0.3,
                "input_dropout": 0.2,
                "pooling": "max",
            },
            "train": {
                "epochs": 10,
                "learning_rate": 0.003,
                "warmup_steps": 20,
                "weight_decay": 0.01,
                "decayed": "matrices",
            },
        },
        "average": {"model": {"num_layers": 0}, "train": {"learning_rate": 0.01}},
        "transformer": {
            "model": {"num_layers": 2, "dropout": 0.2, "pooling": "mean"},
            "train": {"learning_rate": 0.001},
        },
        "feedforward": {"model": {"num_layers": 2, "dropout": 0.1}, "train": {"epochs": 50}},
    }
    verbs: ClassVar[Mapping[str, Verb]] = {
        "classify": Verb("pyrnn.cli.classify:classify", whole=True),
    }
    examples = (
        "RUN --text labelled.tsv",
        "RUN --text labelled.csv --architecture average --class-weights balanced",
        "RUN --features numbers.csv --architecture feedforward --optimizer sgd",
    )

    def objective_of(self, job: Job) -> Objective:
        """Accuracy, macro F1, or loss."""
        if job.data.objective == "loss":
            return Objective("loss", "min")
        return Objective("macro_f1", "max") if job.data.objective == "f1" else self.objective

    def score_unit_of(self, job: Job) -> str:
        """That of the loss."""
        return " nats per example" if job.data.objective == "loss" else ""

    def prepare(self, job: Job, folder: Path) -> dict[str, int]:
        """Write the examples as ids or numbers, and what they mean."""
        data: LabelledConfig = job.data
        if not data.text and data.features is None:
            raise ValueError(
                "a classifier needs examples to learn from: name their file with text or features"
            )
        if (data.features is not None) != (job.model.architecture == "feedforward"):
            raise ValueError(
                "features are for the architecture feedforward, and text is for the others: set architecture "
                f"to fit what is given, got {job.model.architecture!r}"
            )
        if data.text and data.features is not None:
            raise ValueError("text and features are two kinds of examples: leave one out")
        folder.mkdir(parents=True, exist_ok=True)
        if data.features is not None:
            return self._prepare_features(job, folder)
        training, validation = labelled.split(data.text, data, labelled.read_texts)
        start = job.train.init_from
        if start is None:
            tokenizer = labelled.train_tokenizer(training, data)
            labels = Labels.of(training)
        else:
            tokenizer = pyrnn.text.Tokenizer.load(Path(start) / VOCABULARY)
            labels = Labels.load(Path(start) / LABELS)
        tokenizer.save(folder / VOCABULARY)
        labels.save(folder / LABELS)
        for name, part in ((TRAIN, training), (VALIDATION, validation)):
            fields = labelled.encode(part, tokenizer, labels, data)
            pyrnn.data.write_sequences(folder / name, fields, groups=labelled.GROUPS)
        return {"vocabulary_size": len(tokenizer), "num_classes": len(labels.labels), "num_features": 1}

    def _prepare_features(self, job: Job, folder: Path) -> dict[str, int]:
        import torch

        data, start = job.data, job.train.init_from
        training, validation = labelled.split(data.features, data, labelled.read_features)
        labels = Labels.of(training) if start is None else Labels.load(Path(start) / LABELS)
        labels.save(folder / LABELS)
        for name, part in ((TRAIN, training), (VALIDATION, validation)):
            rows = labels.standardized(part)
            pyrnn.data.write_features(folder / name, rows, torch.tensor(labels.ids_of(part)))
        return {
            "vocabulary_size": 1,
            "num_classes": len(labels.labels),
            "num_features": len(labels.mean),
        }

    def build(self, job: Job) -> Classifier:
        """A fresh model."""
        return self.model_class(job.model)

    @property
    def model_class(self) -> type[Classifier]:
        """What is built and loaded."""
        return pyrnn.models.Classifier

    def fields(self, job: Job, path: Path) -> dict[str, list[Tensor]]:
        """The examples of a file that `prepare` wrote."""
        model, C = job.model, job.model.num_classes
        if model.architecture == "feedforward":
            F = model.num_features
            return labelled.feature_fields(*pyrnn.data.read_features(path, num_features=F, num_classes=C))
        return pyrnn.data.read_sequences(
            path, {"token": model.vocabulary_size, "label": C}, groups=self.groups
        )

    def batches(self, job: Job, folder: Path, split: Split) -> LabelledBatches:
        """Training in an order that the seed decides, validation by length."""
        fields = self.fields(job, folder / (TRAIN if split == "train" else VALIDATION))
        if split == "validation":
            return labelled.batches_of(fields, job.train.batch_size, groups=self.groups)
        seed = job.train.seed
        batches = labelled.batches_of(fields, job.train.batch_size, seed=seed, groups=self.groups)
        if job.data.class_weights == "none":
            return batches
        weights = labelled.balanced_weights(fields["label"], job.model.num_classes)
        return LabelledBatches(batches.padded, weights)

    def weight(self, batch: Batch) -> float:
        """Examples, each as much as its class weighs."""
        return float(batch["weight"].sum())

    def loss(
        self, model: nn.Module, batch: Batch, carried: tuple[Tensor, ...] | None, config: TrainConfig
    ) -> Loss:
        """Cross-entropy of the classes."""
        return Loss(
            pyrnn.losses.sequence_cross_entropy(
                _logits(model, batch).float().unsqueeze(0),
                batch["label"],
                weights=batch["weight"],
                reduction="sum",
                label_smoothing=config.label_smoothing,
            )
        )

    def evaluate(self, model: nn.Module, batches: Batches) -> Metrics:
        """Loss, accuracy, macro F1, how far probabilities are off, accuracies: in this order as the parts."""
        assert isinstance(model, pyrnn.models.Classifier)
        device = next(model.parameters()).device
        losses, calibration = pyrnn.metrics.ExampleLoss(device), pyrnn.metrics.Calibration(device=device)
        confusion = pyrnn.metrics.ConfusionMatrix(model.config.num_classes, device)
        assert isinstance(batches, LabelledBatches)
        by_kind = pyrnn.metrics.AccuracyByKind(batches.kinds, device)
        for batch in epoch_of(batches):
            labels = batch["label"].to(device)
            logits = _logits(model, {name: own.to(device) for name, own in batch.items()}).float()
            total = pyrnn.losses.sequence_cross_entropy(logits.unsqueeze(0), labels, reduction="sum")
            losses.update(total, int((labels != pyrnn.losses.IGNORE).sum()))
            confusion.update(logits.argmax(-1), labels[0])
            calibration.update(logits.softmax(-1), labels[0])
            if batches.kinds:
                by_kind.update(logits.argmax(-1), labels[0], batch["kind"][0].to(device))
        return pyrnn.metrics.Combined(losses, confusion, calibration, by_kind)

    def sizes_of(self, model: Pretrained, batches: Batches) -> dict[str, int]:
        """Examples of an epoch, tokens of the vocabulary or numbers of an example, and classes."""
        assert isinstance(batches, LabelledBatches)
        config = model.config
        read = (
            {"features": config.num_features}
            if config.architecture == "feedforward"
            else {"vocabulary": config.vocabulary_size}
        )
        return {"examples": batches.padded.sequences, **read, "classes": config.num_classes}

    def word_tables(self, job: Job, folder: Path) -> dict[str, tuple[str, ...]]:
        """The vectors of words."""
        if job.model.architecture == "feedforward":
            raise ValueError("a classifier of numbers has no vectors of words")
        return {"embedding.weight": pyrnn.text.Tokenizer.load(folder / VOCABULARY).word_list()}

    def load(self, folder: Path, job: Job, **options: Any) -> ClassifierRun:
        """Model, labels and tokenizer."""
        labels, tokenizer = Labels.load(folder / LABELS), None
        found = {"num_classes": len(labels.labels)}
        if job.model.architecture == "feedforward":
            found["num_features"] = len(labels.mean)
        else:
            tokenizer = pyrnn.text.Tokenizer.load(folder / VOCABULARY)
            found["vocabulary_size"] = len(tokenizer)
        told = {name: getattr(job.model, name) for name in found}
        if found != told:
            raise ValueError(f"{folder}: {VOCABULARY} and {LABELS} have {found}, config.json says {told}")
        model = self.model_class.from_pretrained(folder, **options)
        return ClassifierRun(model, job, pyrnn.train.read_run_metrics(folder), labels, tokenizer)

    def read(self, run: Run, source: Source) -> LabelledBatches:
        """Labelled texts or numbers; a label that training never saw is refused."""
        assert isinstance(run, ClassifierRun)
        import torch

        data: LabelledConfig = run.job.data
        if run.tokenizer is None:
            numbers = labelled.read_features(source, data)
            fields = labelled.feature_fields(
                run.labels.standardized(numbers), torch.tensor(run.labels.ids_of(numbers))
            )
        else:
            texts = labelled.read_texts(source, data)
            fields = labelled.encode(texts, run.tokenizer, run.labels, data)
        return labelled.batches_of(fields, run.job.train.batch_size)

    def unknown(self, run: Run, batches: Batches) -> Unknown | None:
        """Tokens that the vocabulary lacks."""
        assert isinstance(run, ClassifierRun)
        if run.tokenizer is None:
            return None
        within = (_tokens_of(batch) for batch in epoch_of(batches))
        return count_unknown(within, run.tokenizer.unk_id)


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    """[B, C]."""
    if "features" in batch:
        return model(batch["features"][0])
    sentences = {"sentence": batch["sentence"]} if "sentence" in batch else {}
    return model(batch["token"], lengths=batch["lengths"], **sentences)


def _tokens_of(batch: Batch) -> Tensor:
    """The ids of a batch that are no padding."""
    import torch

    time = torch.arange(len(batch["token"])).unsqueeze(1)
    return batch["token"][time < batch["lengths"]]
