"""What a run is: a task and its settings. A file and the command line's flags say the same."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pyrnn._configuration import from_mapping
from pyrnn._files import read_json
from pyrnn.train.config import RESUMABLE, TrainConfig
from pyrnn.train.task import ANY, Tables, Task

#: In the standard library from Python 3.11 on.
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

TABLES = ("data", "model", "train")
#: What a run's config.json holds beside the tables: a configuration file may be one.
_OF_RUNS = ("task", "model_type")


@dataclass(frozen=True)
class Job:
    """A task with its settings.

    A setting that is not given has the default of its dataclass, or where the task has one that of
    `Task.defaults`, which may depend on the architecture. Which settings were given is remembered: with
    another architecture the others take its defaults, and those given stay.

    Args:
        task: what to train.
        data: an instance of its `data_config`.
        model: an instance of its `model_config`; its `sizes` are 1 until the data are known.
        train: the recipe.
        given: the settings that were given, by table.

    Example:
        >>> from pyrnn.tasks import find_task
        >>> job = Job.from_mapping(find_task("language-model"), {"train": {"epochs": 2}}, where="here")
        >>> job.train.epochs, job.model.architecture
        (2, 'lstm')
    """

    task: Task
    data: Any
    model: Any
    train: TrainConfig
    given: Tables = field(compare=False, repr=False)

    @classmethod
    def from_mapping(cls, task: Task, tables: Any, *, where: str) -> Job:
        """From tables "data", "model" and "train", each of which may be missing or incomplete.

        Raises:
            ValueError: an unknown table or setting, or a value that does not fit.
        """
        if not isinstance(tables, Mapping):
            raise ValueError(f"{where}: expected a table of tables, got {type(tables).__name__}")
        if unknown := sorted(str(name) for name in tables if name not in TABLES):
            raise ValueError(f"{where}: unknown settings {', '.join(unknown)}; known are {', '.join(TABLES)}")
        for name, table in tables.items():
            if not isinstance(table, Mapping):
                raise ValueError(f"{where}: {name}: expected a table of settings, got {type(table).__name__}")
        given = {name: dict(tables.get(name, {})) for name in TABLES}
        filled = {name: {**_defaults(task, given["model"], name), **given[name]} for name in TABLES}
        required = [f.name for f in fields(task.model_config) if f.default is MISSING]
        filled["model"] = {**{name: 1 for name in required if name in task.sizes}, **filled["model"]}
        kinds = {"data": task.data_config, "model": task.model_config, "train": TrainConfig}
        values = {name: from_mapping(kinds[name], filled[name], where=f"{where}: {name}") for name in TABLES}
        return cls(task, **values, given=given)

    @classmethod
    def from_file(cls, task: Task, path: str | Path) -> Job:
        """From a TOML or JSON file; a run's config.json is one.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: another suffix, not TOML or JSON, of another task, or as `from_mapping`.
        """
        path = Path(path)
        if path.suffix == ".json":
            tables = read_json(path)
        elif path.suffix == ".toml":
            tables = _read_toml(path)
        else:
            raise ValueError(f"{path}: a configuration is a .toml or .json file")
        if isinstance(tables, Mapping):
            if (named := tables.get("task", task.name)) != task.name:
                raise ValueError(f"{path} is for the task {named!r}, expected {task.name!r}")
            tables = {name: table for name, table in tables.items() if name not in _OF_RUNS}
        return cls.from_mapping(task, tables, where=str(path))

    def updated(self, settings: Mapping[str, Any]) -> Job:
        """The same job with some settings given, each named as in its table.

        Raises:
            ValueError: a name that no table has, or a value that does not fit.
        """
        homes = {f.name: table for table in TABLES for f in fields(getattr(self, table))}
        given = {table: dict(values) for table, values in self.given.items()}
        for name, value in settings.items():
            if name not in homes:
                raise ValueError(f"unknown setting {name!r}")
            given[homes[name]][name] = value
        return self.from_mapping(self.task, given, where="settings")

    def sized(self, sizes: Mapping[str, Any]) -> Job:
        """The same job with the model's sizes that follow from the data."""
        given = {**self.given, "model": {**self.given["model"], **sizes}}
        return replace(self, model=replace(self.model, **sizes), given=given)

    def tables(self) -> dict[str, dict[str, Any]]:
        """Every setting by table, as `from_mapping` takes them."""
        return {name: asdict(getattr(self, name)) for name in TABLES}

    def differences(self, other: Job) -> list[str]:
        """One sentence for each setting that a resumed run cannot change and that differs.

        Sizes that follow from the data, and `RESUMABLE` settings, are left out.
        """
        mine, theirs = self.tables(), other.tables()
        return [
            f"{name} is {value!r}, not {theirs[table][name]!r}"
            for table in TABLES
            for name, value in mine[table].items()
            if value != theirs[table][name] and name not in (*self.task.sizes, *RESUMABLE)
        ]


def _defaults(task: Task, model: Mapping[str, Any], table: str) -> dict[str, Any]:
    """The task's defaults of a table, for the kind of model that is given, or else the model's own."""
    own = next((f.default for f in fields(task.model_config) if f.name == task.kind_setting), None)
    found: dict[str, Any] = {}
    for kind in (ANY, str(model.get(task.kind_setting, own))):
        found |= task.defaults.get(kind, {}).get(table, {})
    return found


def _read_toml(path: Path) -> Any:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
