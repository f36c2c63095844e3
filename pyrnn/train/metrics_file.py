"""metrics.jsonl: a row every few steps, and one at each epoch's end with the scores of the validation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrnn._configuration import LARGEST, from_mapping, require_range
from pyrnn._files import open_regular, to_json, write_text
from pyrnn.train.task import Objective

#: One row of metrics.jsonl.
Row = dict[str, Any]

_VALIDATION = "validation_"
_LARGEST = 1 << 30  # bytes: rows of hundreds of millions of steps


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch cost and reached.

    Args:
        epoch: counted from 1.
        step: optimizer steps up to its end.
        train_loss: mean over what the task weighs, with dropout and with the weights of each step.
        validation: scores by name, after the epoch.
        objective: which of them decides.
        weight: how much was trained on, in `unit`.
        unit: for instance "tokens".
        seconds: of training, the validation left out.

    Raises:
        ValueError: a count or a time out of its range.
    """

    epoch: int
    step: int
    train_loss: float
    validation: dict[str, float]
    objective: Objective
    weight: float
    unit: str
    seconds: float

    def __post_init__(self) -> None:
        require_range(self, ("epoch", "step"), least=1)
        require_range(self, ("weight", "seconds"), least=0)

    @property
    def score(self) -> float:
        """That of the objective."""
        return self.validation[self.objective.metric]

    @property
    def per_second(self) -> float:
        """Training speed in `unit`, validation left out; 0 where no time was measured."""
        return self.weight / self.seconds if self.seconds else 0.0

    def row(self) -> Row:
        """As metrics.jsonl has it: `validation_NAME` for finite scores, the weight by its unit's name."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": self.train_loss,
            **{f"{_VALIDATION}{name}": v for name, v in self.validation.items() if math.isfinite(v)},
            "objective": self.objective.metric,
            "direction": self.objective.direction,
            self.unit: self.weight,
            "unit": self.unit,
            "seconds": self.seconds,
        }

    @classmethod
    def of_row(cls, row: Row, *, where: str = "metrics") -> EpochMetrics:
        """What `row` gave.

        Raises:
            ValueError: a value is missing or has another type; the message starts with `where`.
        """
        unit = row.get("unit")
        scores = {name: value for name, value in row.items() if name.startswith(_VALIDATION)}
        others = {name: value for name, value in row.items() if name not in scores}
        objective = {"metric": others.pop("objective", None), "direction": others.pop("direction", None)}
        weight = others.pop(unit, None) if isinstance(unit, str) else None
        validation = {name.removeprefix(_VALIDATION): value for name, value in scores.items()}
        tables = {**others, "objective": objective, "weight": weight, "validation": validation}
        metrics = from_mapping(cls, tables, where=where)
        if metrics.objective.metric not in metrics.validation:
            raise ValueError(f"{where}: the validation has no {metrics.objective.metric}")
        return metrics


def epochs_of(rows: Sequence[Row]) -> list[EpochMetrics]:
    """The rows that an epoch ended with."""
    return [EpochMetrics.of_row(row) for row in rows if "epoch" in row]


def write_metrics(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows, one JSON object a line."""
    write_text(path, "".join(to_json(row) + "\n" for row in rows))


def read_metrics(path: Path) -> list[Row]:
    """The rows of metrics.jsonl; none where there is no such file yet.

    Raises:
        ValueError: a line is not a JSON object with a step, or no epoch where it should be one.
    """
    if not path.exists():
        return []
    rows: list[Row] = []
    with open_regular(path, most=_LARGEST) as file:
        lines = file.read().splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is not JSON: {error}") from error
        step = row.get("step") if isinstance(row, dict) else None
        if type(step) is not int or not 0 < step <= LARGEST:
            raise ValueError(f"{where} is not a row of metrics: {line[:80]!r}")
        if "epoch" in row:
            EpochMetrics.of_row(row, where=where)
        rows.append(row)
    return rows
