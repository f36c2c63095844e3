"""Run folders: what is written can be read, what is damaged is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pyrnn._files import atomic_write, write_text
from pyrnn.models import LanguageModel
from pyrnn.search import SamplingConfig, generate_text
from pyrnn.tasks import evaluate, make_job
from pyrnn.tasks.language_model import TextRun
from pyrnn.train import Trainer, train
from tests.train.small_runs import load_text_run

FILES = {
    "config.json",
    "vocab.json",
    "model.safetensors",
    "metrics.jsonl",
    "trainer.safetensors",
    "tokens.bin",
}
TEXT = 'naïve "text", and so on\n' * 40
SMALL = {
    "max_steps": 3,
    "batch_size": 2,
    "bptt_steps": 8,
    "embedding_size": 8,
    "hidden_size": 8,
    "log_every": 1,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    folder = tmp_path_factory.mktemp("run")
    write_text(folder / "text.txt", TEXT)
    job = make_job("language-model", {"text": str(folder / "text.txt"), "tied": True, **SMALL})
    train(job, folder / "new" / "run")
    return load_text_run(folder / "new" / "run")


@pytest.fixture
def folder(trained: TextRun, tmp_path: Path) -> Path:
    """A copy of the trained run that a test may damage."""
    return Path(shutil.copytree(Path(trained.job.data.text).parent / "new" / "run", tmp_path / "run"))


def test_a_run_survives_the_round_trip(trained: TextRun, folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    loaded = load_text_run(folder)
    assert (loaded.tokenizer, loaded.job, loaded.metrics) == (trained.tokenizer, trained.job, trained.metrics)
    config = SamplingConfig(max_tokens=40)
    texts = [generate_text(run.model, run.tokenizer, ["na"], config) for run in (trained, loaded)]
    assert texts[0] == texts[1]
    assert [row["step"] for row in loaded.metrics] == [1, 2, 3, 3]


def test_tied_weights_are_still_one_parameter_after_loading(folder: Path) -> None:
    model = load_text_run(folder).model
    assert model.embedding is not None
    assert model.projection.weight is model.embedding.weight


def test_a_run_can_be_read_onto_torch_layers_and_as_a_bare_model(folder: Path) -> None:
    assert isinstance(load_text_run(folder, backend="torch").model.recurrent, torch.nn.LSTM)
    model = LanguageModel.from_pretrained(folder)
    x = torch.zeros(3, 2, dtype=torch.int64)
    torch.testing.assert_close(model(x)[0], load_text_run(folder).model(x)[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_text_run(folder)


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors", "metrics.jsonl"])
def test_a_truncated_file_is_refused(name: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=str(path)):
        load_text_run(folder)


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors", "metrics.jsonl"])
def test_rubbish_is_refused(name: str, folder: Path) -> None:
    for content in (
        b"",
        os.urandom(500),
        b"[" * 100_000,
        b"null",
        b'{"a": 1}\n',
        b'{"step": 1, "epoch": "x"}\n',
    ):
        (folder / name).write_bytes(content)
        if not (name == "metrics.jsonl" and not content):  # no rows yet are no damage
            with pytest.raises(ValueError, match=name):
                load_text_run(folder)


@pytest.mark.parametrize(
    ("table", "name", "value", "words"),
    [
        ("model", "hidden_size", 16, r"does not fit config\.json"),
        ("model", "hidden_size", 10**6, r"does not fit config\.json"),
        ("model", "hidden_size", 10**12, "sizes that no model can have"),
        ("model", "num_layers", 10**9, "num_layers must be at most"),
        ("model", "vocabulary_size", 99, "config.json says 99"),
        ("model", "architecture", "gru", r"does not fit config\.json"),
        ("model", "dropout", None, "dropout must be float, got None"),
        ("train", "epochs", 0, "epochs must be at least 1"),
        ("data", "level", 3, "level must be one of"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    table: str, name: str, value: object, words: str, folder: Path
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[table][name] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        load_text_run(folder)


def test_another_kind_of_model_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert", "model": {}}')
    with pytest.raises(ValueError, match="describes a 'bert' but no run: it has no 'task'"):
        load_text_run(folder)
    with pytest.raises(ValueError, match="describes a 'bert', expected 'pyrnn-language-model'"):
        LanguageModel.from_pretrained(folder)


def test_a_run_of_an_older_version_is_refused_with_the_cure(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["task"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json was written by .* train .* again"):
        load_text_run(folder)
    LanguageModel.from_pretrained(folder)  # the model alone is still one


def test_an_unknown_task_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "task": "chess"}))
    with pytest.raises(ValueError, match=f"{folder}: there is no task 'chess'; there are language-model"):
        load_text_run(folder)


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "before")

    def fail() -> None:
        with atomic_write(path) as partial:
            partial.write_text("half a fi")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        fail()
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_text_file_is_evaluated_whole(trained: TextRun, tmp_path: Path) -> None:
    write_text(tmp_path / "short.txt", "naïve")
    assert evaluate(trained, tmp_path / "short.txt")["tokens"] == 4
    write_text(tmp_path / "long.txt", TEXT * 3)
    assert evaluate(trained, tmp_path / "long.txt")["tokens"] == 3 * len(TEXT) - 1
    write_text(tmp_path / "other.txt", "z" * 50)
    assert evaluate(trained, tmp_path / "other.txt")["unknown"] == 49


class _Damages:
    """A reporter that damages a file after the second step."""

    def __init__(self, damage: Callable[[], None]) -> None:
        self.damage = damage

    def on_start(self, start: object) -> None: ...

    def on_step(self, trainer: Trainer, result: object) -> None:
        if trainer.steps_done == 2:
            self.damage()

    def on_epoch(self, metrics: object) -> None: ...


def test_tokens_that_are_cut_while_a_run_reads_them_end_it_with_words(tmp_path: Path) -> None:
    write_text(tmp_path / "text.txt", TEXT * 20)
    job = make_job("language-model", {"text": str(tmp_path / "text.txt"), **SMALL, "max_steps": 9})
    tokens = tmp_path / "run" / "tokens.bin"
    with pytest.raises(ValueError, match=rf"{tokens} became shorter while it was in use"):
        train(job, tmp_path / "run", reporter=_Damages(lambda: os.truncate(tokens, 8)))


def test_a_run_does_not_mind_tokens_that_vanish_while_it_reads_them(tmp_path: Path) -> None:
    write_text(tmp_path / "text.txt", TEXT)
    job = make_job("language-model", {"text": str(tmp_path / "text.txt"), **SMALL})
    tokens = tmp_path / "run" / "tokens.bin"
    run = train(job, tmp_path / "run", reporter=_Damages(tokens.unlink))
    assert run.epochs[-1].step == 3
