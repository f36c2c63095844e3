"""A finished run on disk: config.json, vocab.json, model.safetensors, metrics.jsonl.

Each file is written beside its place and then moved into it, so a reader never sees half a file. Nothing is
pickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from pyrnn.models import LanguageModel, LanguageModelConfig, recurrent_class
from pyrnn.models.language_model import Backend
from pyrnn.text import Vocabulary
from pyrnn.train.config import TrainConfig
from pyrnn.train.language_model import EpochMetrics


@dataclass(frozen=True)
class Run:
    """A trained model with all that is needed to use it and to judge it."""

    model: LanguageModel
    vocabulary: Vocabulary
    train_config: TrainConfig
    history: list[EpochMetrics]


def save_run(folder: str | Path, run: Run) -> None:
    """Write `run` into `folder`, made where it is missing; files of an earlier run there are replaced.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model": asdict(run.model.config), "train": asdict(run.train_config)}
    _write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    _write_text(folder / "vocab.json", json.dumps(run.vocabulary.symbols, ensure_ascii=False) + "\n")
    _write_text(folder / "metrics.jsonl", "".join(json.dumps(asdict(m)) + "\n" for m in run.history))
    with _replacing(folder / "model.safetensors") as path:
        save_model(run.model, str(path))


def load_run(folder: str | Path, *, backend: Backend = "pyrnn") -> Run:
    """Read what `save_run` wrote; the model comes in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: a file is damaged, or the weights do not fit the configuration.
    """
    folder = Path(folder)
    config = _read_json(folder / "config.json")
    symbols = _read_json(folder / "vocab.json")
    try:
        model_config = LanguageModelConfig(**config["model"])
        train_config = TrainConfig(**{**config["train"], "betas": tuple(config["train"]["betas"])})
        vocabulary = Vocabulary(symbols)
        history = [EpochMetrics(**json.loads(row)) for row in _lines(folder / "metrics.jsonl")]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} does not hold a run of this version: {error}") from error
    if len(vocabulary) != model_config.vocabulary_size:
        raise ValueError(
            f"{folder}: vocab.json has {len(vocabulary)} symbols, "
            f"config.json says {model_config.vocabulary_size}"
        )
    model = LanguageModel(model_config, recurrent=recurrent_class(model_config.cell, backend))
    try:
        load_model(model, folder / "model.safetensors")
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder / 'model.safetensors'} does not fit config.json: {error}") from error
    return Run(model.eval(), vocabulary, train_config, history)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; on success its file takes the place of `path` in one step."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    with _replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _lines(path: Path) -> Sequence[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
