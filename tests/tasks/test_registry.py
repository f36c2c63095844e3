"""The list of tasks and their settings, and that none of it needs torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import get_type_hints

import pytest

from pyrnn.cli.settings import _argument_texts
from pyrnn.tasks import TASKS, find_task, make_job
from pyrnn.train.config import TrainConfig
from pyrnn.train.job import TABLES

CHECK = "import sys; assert 'torch' not in sys.modules, 'torch was imported'"


def _kinds(name: str) -> list[type]:
    task = find_task(name)
    return [task.data_config, task.model_config, TrainConfig]


@pytest.mark.parametrize("name", [*TASKS])
def test_a_task_is_called_by_its_name_and_its_best_score_is_one_of_its_own(name: str) -> None:
    task = find_task(name)
    assert task.name == name
    assert find_task(name) is task
    assert set(task.sizes) <= {field.name for field in dataclasses.fields(task.model_config)}


@pytest.mark.parametrize("name", [*TASKS])
def test_settings_have_one_home_a_type_and_a_text(name: str) -> None:
    """Flags are made of them."""
    kinds = _kinds(name)
    names = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    assert len(names) == len(set(names))
    for kind in kinds:
        assert {field.name for field in dataclasses.fields(kind)} <= _argument_texts(kind).keys()
        get_type_hints(kind)


@pytest.mark.parametrize("name", [*TASKS])
@pytest.mark.parametrize("architecture", ["rnn", "gru", "lstm", "transformer"])
def test_defaults_are_settings_that_there_are(name: str, architecture: str) -> None:
    has_architectures = hasattr(make_job(name).model, "architecture")
    job = make_job(name, {"architecture": architecture} if has_architectures else {})
    again = type(job).from_mapping(job.task, job.tables(), where="here")
    assert again == job
    for tables in job.task.defaults.values():
        assert tables.keys() <= set(TABLES)


def test_an_unknown_task_is_told_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no task 'chess'; there are language-model, .*translation, tagger"):
        find_task("chess")


@pytest.mark.parametrize(
    "code",
    [
        "import pyrnn",
        "import pyrnn.tasks; [pyrnn.tasks.make_job(name) for name in pyrnn.tasks.TASKS]",
        "import pyrnn.models.configs, pyrnn.search.config, pyrnn.train.config, pyrnn.train.job",
        "import pyrnn.cli.app",
        *(
            f"import sys, pyrnn.cli; sys.argv = ['pyrnn', *{line.split()!r}]; assert pyrnn.cli.main() == 0"
            for line in ("--help", "train --help", *(f"train {name} --help" for name in TASKS), "tag --help")
        ),
    ],
)
def test_no_torch_is_imported(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"{code}; {CHECK}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
