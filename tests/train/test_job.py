"""Defaults that depend on the cell, and what overrides them."""

from pathlib import Path

import pytest

from pyrnn.train import LanguageModelJob
from pyrnn.train.job import DEFAULTS_OF_CELLS

OWN = DEFAULTS_OF_CELLS["transformer"]


def test_every_cell_has_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('[model]\ncell = "transformer"\n')
    by_flag = LanguageModelJob().updated({"cell": "transformer"})
    by_file = LanguageModelJob.from_file(tmp_path / "job.toml")
    assert by_flag == by_file
    for table, values in OWN.items():
        for name, value in values.items():
            assert getattr(getattr(by_flag, table), name) == value
            assert getattr(getattr(LanguageModelJob(), table), name) != value
    assert by_flag.updated({"cell": "lstm"}) == LanguageModelJob()
    assert by_flag.updated({}) == by_flag


def test_what_is_given_overrides_the_defaults_of_a_cell() -> None:
    start = LanguageModelJob().updated({"num_layers": 7, "epochs": 2})
    job = start.updated({"cell": "transformer", "hidden_size": 64})
    assert (job.model.num_layers, job.model.hidden_size, job.train.epochs) == (7, 64, 2)
    assert job.model.dropout == OWN["model"]["dropout"]
    job = LanguageModelJob.from_mapping(
        {"model": {"cell": "transformer", "dropout": 0.2}, "train": {"learning_rate": 0.008}}, where="here"
    )
    assert (job.model.dropout, job.train.learning_rate) == (0.2, 0.008)


@pytest.mark.parametrize(
    "tables", [{"model": {"cell": "transformer"}, "train": 3}, {"model": {"cell": ["gru"]}}]
)
def test_tables_that_are_none_are_named(tables: object) -> None:
    with pytest.raises(ValueError, match="here: "):
        LanguageModelJob.from_mapping(tables, where="here")  # type: ignore[arg-type]
