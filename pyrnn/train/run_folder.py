"""The folder of one training run.

config.json          the job: text, sizes, recipe
vocab.json           the tokenizer
model.safetensors    the weights of the best epoch
metrics.jsonl        a row every few steps, and one at each epoch's end
trainer.safetensors  all that resuming needs
tokens.bin           the text as ids; validation.bin where that is another text

Each file is written beside its place and then moved into it. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyrnn._configuration import from_mapping
from pyrnn._files import write_text
from pyrnn.data import shakespeare_path
from pyrnn.models import LanguageModel
from pyrnn.models.language_model import Backend
from pyrnn.models.pretrained import CONFIG, read_config
from pyrnn.text import TokenFile, Tokenizer, open_tokens, split_validation
from pyrnn.train.job import LanguageModelJob

VOCABULARY, METRICS, CHECKPOINT = "vocab.json", "metrics.jsonl", "trainer.safetensors"
TOKENS, VALIDATION_TOKENS = "tokens.bin", "validation.bin"

#: The name of the text that comes with the package.
BUILT_IN = "shakespeare"

#: One row of metrics.jsonl.
Row = dict[str, Any]


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch cost and reached; losses in nats a symbol, seconds of training alone."""

    epoch: int
    step: int
    train_loss: float
    validation_loss: float
    symbols: int
    seconds: float

    @property
    def symbols_per_second(self) -> float:
        """Training speed, validation left out."""
        return self.symbols / self.seconds


@dataclass(frozen=True)
class Run:
    """A trained model with all that is needed to use it and to judge it."""

    model: LanguageModel
    tokenizer: Tokenizer
    job: LanguageModelJob
    metrics: list[Row]

    @property
    def epochs(self) -> list[EpochMetrics]:
        """What each epoch reached."""
        return epochs_of(self.metrics)

    @property
    def best(self) -> EpochMetrics:
        """The epoch of the lowest validation loss; there must be one."""
        return min(self.epochs, key=lambda epoch: epoch.validation_loss)

    @property
    def seconds(self) -> float:
        """Of training, validation left out."""
        return sum(epoch.seconds for epoch in self.epochs)


def epochs_of(rows: Sequence[Row]) -> list[EpochMetrics]:
    """The rows that an epoch ended with."""
    return [EpochMetrics(**row) for row in rows if "epoch" in row]


def text_path(text: str | Path) -> Path:
    """The file of a text that a user names: a path, or `BUILT_IN`."""
    return shakespeare_path() if text == BUILT_IN else Path(text)


def job_tables(job: LanguageModelJob) -> dict[str, Any]:
    """The tables of config.json beside the model's own."""
    return {"text": asdict(job.text), "train": asdict(job.train)}


def read_job(folder: str | Path) -> LanguageModelJob:
    """The job of a run.

    Raises:
        FileNotFoundError: there is no such folder, or no run in it.
        ValueError: config.json is damaged or describes something else.
    """
    config = read_config(Path(folder), LanguageModel.model_type)
    tables = {name: config[name] for name in ("text", "model", "train") if name in config}
    return LanguageModelJob.from_mapping(tables, where=str(Path(folder) / CONFIG))


def load_run(folder: str | Path, *, backend: Backend = "pyrnn") -> Run:
    """Read a run; the model comes in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: a file is damaged, or the weights do not fit the sizes.
    """
    folder = Path(folder)
    job = read_job(folder)
    tokenizer = Tokenizer.load(folder / VOCABULARY)
    if len(tokenizer) != job.model.vocabulary_size:
        raise ValueError(
            f"{folder}: {VOCABULARY} has {len(tokenizer)} symbols, {CONFIG} says {job.model.vocabulary_size}"
        )
    model = LanguageModel.from_pretrained(folder, backend=backend)
    return Run(model, tokenizer, job, read_metrics(folder / METRICS))


def run_ids(folder: str | Path) -> tuple[TokenFile, TokenFile]:
    """The training and the validation text of a run as ids, which are read as they are used.

    Raises:
        FileNotFoundError: the run is not there, or its token files were removed.
        ValueError: one of its files is damaged.
    """
    folder, job = Path(folder), read_job(folder)
    V = job.model.vocabulary_size
    ids = open_tokens(folder / TOKENS, V)
    if job.text.validation_text is None:
        return split_validation(ids, job.text.validation_fraction)
    return ids, open_tokens(folder / VALIDATION_TOKENS, V)


def labels(runs: Sequence[str | Path]) -> list[str]:
    """What to call each run beside others: its folder's name, or the path where two folders share one."""
    names = [Path(run).name for run in runs]
    return [str(run) if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def write_metrics(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows, one JSON object a line."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_metrics(path: Path) -> list[Row]:
    """The rows of metrics.jsonl; none where there is no such file yet.

    Raises:
        ValueError: a line is not a JSON object with a step.
    """
    if not path.exists():
        return []
    rows: list[Row] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError(f"{path}, line {number} is not a row of metrics: {line[:80]!r}")
        if "epoch" in row:
            from_mapping(EpochMetrics, row, where=f"{path}, line {number}")
        rows.append(row)
    return rows
