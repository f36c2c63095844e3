"""Defaults that depend on the architecture, and what overrides them."""

from pathlib import Path

import pytest

from pyrnn.tasks import find_task, make_job
from pyrnn.train import Job

TASK = find_task("language-model")
OWN = TASK.defaults["transformer"]


def test_every_architecture_has_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('[model]\narchitecture = "transformer"\n')
    by_flag = make_job("language-model", {"architecture": "transformer"})
    by_file = Job.from_file(TASK, tmp_path / "job.toml")
    assert by_flag == by_file
    for table, values in OWN.items():
        for name, value in values.items():
            assert getattr(getattr(by_flag, table), name) == value
            assert getattr(getattr(make_job("language-model"), table), name) != value
    assert by_flag.updated({"architecture": "lstm"}) == make_job("language-model")
    assert by_flag.updated({}) == by_flag


def test_what_is_given_overrides_the_defaults_of_an_architecture() -> None:
    start = make_job("language-model", {"num_layers": 7, "epochs": 2})
    job = start.updated({"architecture": "transformer", "hidden_size": 64})
    assert (job.model.num_layers, job.model.hidden_size, job.train.epochs) == (7, 64, 2)
    assert job.model.dropout == OWN["model"]["dropout"]
    job = Job.from_mapping(
        TASK,
        {"model": {"architecture": "transformer", "dropout": 0.2}, "train": {"learning_rate": 0.008}},
        where="here",
    )
    assert (job.model.dropout, job.train.learning_rate) == (0.2, 0.008)


def test_a_setting_that_is_given_stays_with_another_architecture_also_where_it_is_the_default(
    tmp_path: Path,
) -> None:
    """In one file and in a file with a flag the same settings are the same job."""
    (tmp_path / "job.toml").write_text("[model]\nhidden_size = 256\n")
    by_flag = Job.from_file(TASK, tmp_path / "job.toml").updated({"architecture": "transformer"})
    (tmp_path / "all.toml").write_text('[model]\nhidden_size = 256\narchitecture = "transformer"\n')
    assert by_flag == Job.from_file(TASK, tmp_path / "all.toml")
    assert (by_flag.model.hidden_size, by_flag.model.num_layers) == (256, 4)


def test_a_file_of_another_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"task": "tagger"}')
    with pytest.raises(ValueError, match="is for the task 'tagger', expected 'language-model'"):
        Job.from_file(TASK, tmp_path / "job.json")


@pytest.mark.parametrize(
    "tables", [{"model": {"architecture": "transformer"}, "train": 3}, {"model": {"architecture": ["gru"]}}]
)
def test_tables_that_are_none_are_named(tables: object) -> None:
    with pytest.raises(ValueError, match="here: "):
        Job.from_mapping(TASK, tables, where="here")  # type: ignore[arg-type]
