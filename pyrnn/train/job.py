"""What a language-model run is: text, model, recipe. A file and the command line's flags say the same."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pyrnn._configuration import from_mapping, require_range
from pyrnn._files import read_json
from pyrnn.models import LanguageModelConfig
from pyrnn.train.config import TrainConfig

#: In the standard library from Python 3.11 on.
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


#: Defaults of a job's settings where they depend on the cell; they are those of the character model.
DEFAULTS_OF_CELLS: dict[str, dict[str, dict[str, Any]]] = {
    "transformer": {
        "model": {"hidden_size": 128, "num_layers": 4, "dropout": 0.05},
        "train": {"batch_size": 16, "learning_rate": 0.004},
    },
}


@dataclass(frozen=True)
class TextConfig:
    """The text of a run, and its symbols.

    Args:
        text: a file (UTF-8, plain or gzip), or "shakespeare" for the one that comes with the package.
        validation_text: a file to validate on; None takes the end of `text`.
        validation_fraction: how much of `text` that is.
        level: symbols are "character", "word" or "subword".
        max_vocabulary: keep the most frequent symbols only, the others become <unk>; subword: how many to
            learn, 8192 if None.
        min_count: symbols that occur less often become <unk>.

    Raises:
        ValueError: a fraction outside (0, 1), or a count below one or beyond 64 bits.
    """

    text: str = "shakespeare"
    validation_text: str | None = None
    validation_fraction: float = 0.1
    level: Literal["character", "word", "subword"] = "character"
    max_vocabulary: int | None = None
    min_count: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}")
        counts = ("min_count",) if self.max_vocabulary is None else ("max_vocabulary", "min_count")
        require_range(self, counts, least=1)


@dataclass(frozen=True)
class LanguageModelJob:
    """A language-model run.

    Read from a mapping or a file, what is not given takes the default of the job's cell: that of its
    dataclass, or where there is one that of `DEFAULTS_OF_CELLS`.

    Args:
        text: what to read.
        model: the sizes; `vocabulary_size` follows from the text.
        train: the recipe.

    Example:
        >>> job = LanguageModelJob.from_mapping({"train": {"epochs": 2}}, where="here")
        >>> job.train.epochs, job.model.cell
        (2, 'lstm')
    """

    text: TextConfig = field(default_factory=TextConfig)
    model: LanguageModelConfig = field(default_factory=lambda: LanguageModelConfig(vocabulary_size=1))
    train: TrainConfig = field(default_factory=TrainConfig)

    @classmethod
    def from_mapping(cls, tables: Mapping[str, Any], *, where: str) -> LanguageModelJob:
        """From tables "text", "model" and "train", each of which may be missing or incomplete.

        Raises:
            ValueError: an unknown table or setting, or a value that does not fit.
        """
        if isinstance(tables, Mapping) and isinstance(model := tables.get("model"), Mapping):
            tables = {**tables, "model": {"vocabulary_size": 1, **model}}
            for name, defaults in DEFAULTS_OF_CELLS.get(str(model.get("cell")), {}).items():
                if isinstance(given := tables.get(name, {}), Mapping):
                    tables = {**tables, name: {**defaults, **given}}
        return from_mapping(cls, tables, where=where)

    @classmethod
    def from_file(cls, path: str | Path) -> LanguageModelJob:
        """From a TOML or JSON file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: another suffix, not TOML or JSON, or as `from_mapping`.
        """
        path = Path(path)
        if path.suffix == ".json":
            tables = read_json(path)
        elif path.suffix == ".toml":
            tables = _read_toml(path)
        else:
            raise ValueError(f"{path}: a configuration is a .toml or .json file")
        if isinstance(tables, Mapping):
            tables = {
                name: table for name, table in tables.items() if name != "model_type"
            }  # a run's own file
        return cls.from_mapping(tables, where=str(path))

    def updated(self, settings: Mapping[str, Any]) -> LanguageModelJob:
        """The same job with some settings changed, each named as in its table.

        With another cell, settings that have the old cell's default take the new one's.

        Raises:
            ValueError: a name that no table has, or a value that does not fit.
        """
        tables: dict[str, dict[str, Any]] = json.loads(json.dumps(asdict(self)))
        if (cell := settings.get("cell", self.model.cell)) != self.model.cell:
            old, new = (_defaults(c) for c in (self.model.cell, cell))
            for table, values in tables.items():
                for name, value in values.items():
                    if value == old[table][name]:
                        values[name] = new[table][name]
        for name, value in settings.items():
            homes = [table for table, values in tables.items() if name in values]
            if not homes:
                raise ValueError(f"unknown setting {name!r}")
            tables[homes[0]][name] = value
        return self.from_mapping(tables, where="settings")

    def sized(self, vocabulary_size: int) -> LanguageModelJob:
        """The same job with the vocabulary's size in its model."""
        return replace(self, model=replace(self.model, vocabulary_size=vocabulary_size))

    def differences(self, other: LanguageModelJob) -> list[str]:
        """One sentence for each setting that differs, the vocabulary's size left out."""
        found = []
        for table in fields(self):
            mine, theirs = asdict(getattr(self, table.name)), asdict(getattr(other, table.name))
            found += [
                f"{name} is {mine[name]!r}, not {theirs[name]!r}"
                for name in mine
                if mine[name] != theirs[name] and name != "vocabulary_size"
            ]
        return found


def _defaults(cell: Any) -> dict[str, dict[str, Any]]:
    """The tables of a job of which nothing but the cell is known."""
    job = LanguageModelJob.from_mapping({"model": {"cell": cell}}, where="settings")
    return json.loads(json.dumps(asdict(job)))


def _read_toml(path: Path) -> Any:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
