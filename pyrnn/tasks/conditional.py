"""Conditional language modelling: texts of a label, one to many; the label is read before the first token.

Dimension key: T time, B batch, V vocabulary, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyrnn
from pyrnn.models.configs import LanguageModelConfig
from pyrnn.search.config import SamplingConfig, SearchConfig
from pyrnn.tasks import labelled
from pyrnn.tasks.labelled import LabelledTextsConfig, Labels
from pyrnn.tasks.words import WordTask, count_unknown
from pyrnn.train.run_folder import Run
from pyrnn.train.task import ANY, Batch, Batches, Loss, Objective, Split, Tables, Unknown, Verb, epoch_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrnn.data import PaddedBatches
    from pyrnn.metrics import Perplexity
    from pyrnn.models import DecoderState, LanguageModel
    from pyrnn.models.pretrained import Pretrained
    from pyrnn.search import FoundText
    from pyrnn.text import LabelledText, Source, Tokenizer
    from pyrnn.train.config import TrainConfig
    from pyrnn.train.job import Job

VOCABULARY, LABELS, TRAIN, VALIDATION = (
    "vocab.json",
    "labels.json",
    "train.safetensors",
    "validation.safetensors",
)

_SHORTEST = 2  # tokens of a text that is written: no text that was learned from is empty but for its end


@dataclass(frozen=True)
class ConditionalTextsConfig(LabelledTextsConfig):
    """The labelled texts of a run, see `LabelledTextsConfig`."""

    level: Literal["character", "word", "subword"] = "character"


@dataclass(frozen=True)
class ConditionalRun(Run):
    """A trained conditional language model, with what its ids mean."""

    model: LanguageModel
    tokenizer: Tokenizer
    labels: Labels


class ConditionalLanguageModeling(WordTask):
    """Cross-entropy of the tokens of each text and of its end, given its label."""

    name = "conditional-language-model"
    summary = (
        "Train a language model of texts that depend on a label, as names on a nationality: an RNN, GRU or "
        "LSTM, or a transformer."
    )
    unit = "tokens"
    data_config = ConditionalTextsConfig
    model_config = LanguageModelConfig
    sizes = ("vocabulary_size", "condition_size")
    vocabulary_settings = ("level", "lowercase", "max_vocabulary", "min_count", "vocabulary_text")
    files = (VOCABULARY, LABELS, TRAIN, VALIDATION)
    objective = Objective("loss", "min")
    score_unit = " nats per token"
    defaults: ClassVar[Mapping[str, Tables]] = {
        ANY: {
            "model": {"hidden_size": 128, "num_layers": 1},
            "train": {"epochs": 12, "learning_rate": 0.003, "warmup_steps": 20},
        },
        "transformer": {"model": {"num_layers": 2}, "train": {"learning_rate": 0.001}},
    }
    verbs: ClassVar[Mapping[str, Verb]] = {"generate": Verb("pyrnn.cli.generate:generate", whole=True)}
    examples = (
        "RUN --text names.tsv",
        "RUN --text labelled.csv --level word --architecture transformer",
    )

    def prepare(self, job: Job, folder: Path) -> dict[str, int]:
        """Write the texts as ids, and what these mean."""
        data: ConditionalTextsConfig = job.data
        if not data.text:
            raise ValueError(
                "a conditional language model learns from labelled texts: name their file with text"
            )
        folder.mkdir(parents=True, exist_ok=True)
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
            pyrnn.data.write_sequences(
                folder / name, _encode(part, tokenizer, labels, data), groups=labelled.GROUPS
            )
        return {"vocabulary_size": len(tokenizer), "condition_size": len(labels.labels)}

    def build(self, job: Job) -> LanguageModel:
        """A fresh model."""
        return pyrnn.models.LanguageModel(job.model)

    def batches(self, job: Job, folder: Path, split: Split) -> PaddedBatches:
        """Training in an order that the seed decides, validation by length."""
        sizes = {"token": job.model.vocabulary_size, "label": job.model.condition_size}
        path = folder / (TRAIN if split == "train" else VALIDATION)
        fields = pyrnn.data.read_sequences(path, sizes, groups=labelled.GROUPS)
        eos_id = _eos_of(pyrnn.text.Tokenizer.load(folder / VOCABULARY))
        seed = job.train.seed if split == "train" else None
        return _batches_of(fields, eos_id, job.train.batch_size, seed=seed)

    def weight(self, batch: Batch) -> int:
        """Tokens to predict, ends of texts among them."""
        return int((batch["target"] != pyrnn.losses.IGNORE).sum())

    def loss(
        self, model: nn.Module, batch: Batch, carried: tuple[Tensor, ...] | None, config: TrainConfig
    ) -> Loss:
        """Cross-entropy of the tokens."""
        return Loss(_total(model, batch, label_smoothing=config.label_smoothing))

    def evaluate(self, model: nn.Module, batches: Batches) -> Perplexity:
        """Loss and perplexity of the tokens, given the labels."""
        device = next(model.parameters()).device
        scores = pyrnn.metrics.Perplexity(device)
        for batch in epoch_of(batches):
            total = _total(model, {name: own.to(device) for name, own in batch.items()})
            scores.update(total, self.weight(batch))
        return scores

    def sizes_of(self, model: Pretrained, batches: Batches) -> dict[str, int]:
        """Texts of an epoch, tokens of the vocabulary, and labels."""
        assert isinstance(batches, pyrnn.data.PaddedBatches)
        config = model.config
        return {
            "texts": batches.sequences,
            "vocabulary": config.vocabulary_size,
            "labels": config.condition_size,
        }

    def word_tables(self, job: Job, folder: Path) -> Mapping[str, Sequence[str]]:
        """The vectors of words, unless the input is one-hot."""
        return pyrnn.tasks.find_task("language-model").word_tables(job, folder)

    def load(self, folder: Path, job: Job, **options: Any) -> ConditionalRun:
        """Model, labels and tokenizer; `backend` is an option."""
        labels = Labels.load(folder / LABELS)
        tokenizer = pyrnn.text.Tokenizer.load(folder / VOCABULARY)
        found = {"vocabulary_size": len(tokenizer), "condition_size": len(labels.labels)}
        told = {name: getattr(job.model, name) for name in found}
        if found != told:
            raise ValueError(f"{folder}: {VOCABULARY} and {LABELS} have {found}, config.json says {told}")
        model = pyrnn.models.LanguageModel.from_pretrained(folder, **options)
        return ConditionalRun(model, job, pyrnn.train.read_run_metrics(folder), tokenizer, labels)

    def read(self, run: Run, source: Source) -> PaddedBatches:
        """Labelled texts; a label that training never saw is refused."""
        assert isinstance(run, ConditionalRun)
        data: ConditionalTextsConfig = run.job.data
        fields = _encode(labelled.read_texts(source, data), run.tokenizer, run.labels, data)
        return _batches_of(fields, _eos_of(run.tokenizer), run.job.train.batch_size)

    def unknown(self, run: Run, batches: Batches) -> Unknown | None:
        """Tokens to predict that the vocabulary lacks."""
        assert isinstance(run, ConditionalRun)
        parts = (batch["target"] for batch in epoch_of(batches))
        return count_unknown((part[part != pyrnn.losses.IGNORE] for part in parts), run.tokenizer.unk_id)


def draw_texts(
    run: Run,
    labels: Sequence[str],
    config: SamplingConfig | None = None,
    *,
    prompts: Sequence[str] | None = None,
    seed: int = 0,
) -> list[str]:
    r"""A text of each of the labels, drawn from a conditional language model.

    Args:
        run: a trained one.
        labels: of B texts; one that is wanted several times is given so often.
        config: how to draw. A text ends where the model ends it, or at `max_tokens`; it has a token at least.
        prompts: B beginnings of the texts, which may be empty; none unless given.
        seed: of the draws: the same one gives the same texts.

    Returns:
        What follows each prompt, without it.

    Raises:
        ValueError: the run is of another kind, no labels, one that it was not trained on, another number of
            prompts, or as `pyrnn.search.generate_text`; `max_tokens` is at least 2.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.train import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "names.tsv")
        ...     rows = (f"{label}\t{text * n}\n" for n in range(1, 9) for label, text in ("Ax", "By"))
        ...     _ = file.write_text("".join(rows))
        ...     settings = {"text": str(file), "hidden_size": 16, "epochs": 2, "batch_size": 4}
        ...     run = train(make_job("conditional-language-model", settings), Path(folder, "run"))
        >>> texts = draw_texts(run, ["A", "B", "B"], seed=1)
        >>> len(texts), set("".join(texts)) <= {"x", "y"}
        (3, True)
    """
    found, given, state = _conditioned(run, labels, prompts)
    config = config or SamplingConfig()
    config = replace(config, stop_at_eos=True, min_tokens=max(config.min_tokens, _SHORTEST))
    return pyrnn.search.generate_text(found.model, found.tokenizer, given, config, seed=seed, state=state)


def search_texts(
    run: Run, labels: Sequence[str], config: SearchConfig, *, prompts: Sequence[str] | None = None
) -> list[list[FoundText]]:
    r"""The likeliest texts of each of the labels: arguments and errors as of `draw_texts`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.search import SearchConfig
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.train import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "names.tsv")
        ...     rows = (f"{label}\t{text * n}\n" for n in range(1, 9) for label, text in ("Ax", "By"))
        ...     _ = file.write_text("".join(rows))
        ...     settings = {"text": str(file), "hidden_size": 16, "epochs": 2, "batch_size": 4}
        ...     run = train(make_job("conditional-language-model", settings), Path(folder, "run"))
        >>> [len(found) for found in search_texts(run, ["A", "B"], SearchConfig(beam_width=2, max_tokens=4))]
        [1, 1]
    """
    found, given, state = _conditioned(run, labels, prompts)
    config = replace(config, min_tokens=max(config.min_tokens, _SHORTEST))
    return pyrnn.search.search_text(
        found.model, found.tokenizer, given, config, stop_at_eos=True, state=state
    )


def _conditioned(
    run: Run, labels: Sequence[str], prompts: Sequence[str] | None
) -> tuple[ConditionalRun, Sequence[str], DecoderState]:
    """The run, the prompts, which are empty unless given, and the state that has read each label."""
    import torch

    if not isinstance(run, ConditionalRun):
        raise ValueError(
            f"expected a run of the task conditional-language-model, got one of {run.job.task.name}"
        )
    if isinstance(labels, str):
        raise TypeError(f"expected a list of labels, got one string, {labels[:40]!r}; put it in a list")
    prompts = [""] * len(labels) if prompts is None else prompts
    if not labels or len(prompts) != len(labels):
        raise ValueError(
            f"expected at least one label and a prompt for each, got {len(labels)} labels and "
            f"{len(prompts)} prompts"
        )
    ids = run.labels.ids_of([pyrnn.text.LabelledText(label, "", "labels") for label in labels])
    device = next(run.model.parameters()).device
    with pyrnn.search.evaluating(run.model):
        return run, prompts, run.model.start(torch.tensor(ids, device=device))


def _encode(
    examples: Sequence[LabelledText], tokenizer: Tokenizer, labels: Labels, data: LabelledTextsConfig
) -> dict[str, list[Tensor]]:
    """Texts, each with its end, and labels as ids."""
    _eos_of(tokenizer)
    ended = [example._replace(text=f"{example.text}\n") for example in examples]
    return labelled.encode(ended, tokenizer, labels, data)


def _batches_of(
    fields: Mapping[str, Sequence[Tensor]], eos_id: int, batch_size: int, *, seed: int | None = None
) -> PaddedBatches:
    """What the model reads, an end first as `pyrnn generate` does, and what it is to write, the end last."""
    import torch

    end = torch.tensor([eos_id], dtype=torch.int32)
    read = [torch.cat([end, own[:-1]]) for own in fields["token"]]
    return pyrnn.data.PaddedBatches(
        {"input": read, "target": fields["token"], "label": fields["label"]},
        batch_size=batch_size,
        fill={"target": pyrnn.losses.IGNORE},
        seed=seed,
        groups={"lengths": ("input", "target"), "label_lengths": ("label",)},
    )


def _total(model: nn.Module, batch: Batch, *, label_smoothing: float = 0.0) -> Tensor:
    """The sum of -log p(token | those before, label)."""
    total, _ = model(
        batch["input"],
        condition=batch["label"][0],
        lengths=batch["lengths"],
        targets=batch["target"],
        label_smoothing=label_smoothing,
    )
    return total


def _eos_of(tokenizer: Tokenizer) -> int:
    """The token that ends a text.

    Raises:
        ValueError: the tokenizer has none.
    """
    if tokenizer.eos_id is None:
        raise ValueError(
            "texts end with an end-of-sentence token, and the tokenizer has none: take one that was "
            "trained on lines"
        )
    return tokenizer.eos_id
