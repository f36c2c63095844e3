"""What a user sees while a model trains."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from pyrnn.tasks import make_job
from pyrnn.train import JsonLinesReporter, StepResult, TerminalReporter, train
from pyrnn.train.progress import Start
from tests.train.small_runs import KillAt, Killed, resume, small_job

#: What moves the cursor or colours text.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _start(**changes: Any) -> Start:
    sizes = {"tokens": 5_400_000, "vocabulary": 84, "parameters": 876_929}
    values: dict[str, Any] = {
        "task": "language-model",
        "sizes": sizes,
        "device": "cpu",
        "threads": 2,
        "processes": 1,
        "step": 0,
        "total_steps": 2214,
        "log_every": 50,
    }
    return Start(**{**values, **changes})


class _Step(StepResult):
    """A trainer and its result after a step."""

    unit = "tokens"

    def __init__(self, done: int, total: int) -> None:
        super().__init__(torch.tensor(1.25), torch.tensor(0.5), 2048.0)
        vars(self).update(steps_done=done, total_steps=total)


def _rows(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _terminal(width: int) -> tuple[io.StringIO, TerminalReporter]:
    stream = io.StringIO()
    return stream, TerminalReporter(Console(file=stream, force_terminal=True, width=width))


def _shown(stream: io.StringIO) -> list[str]:
    """Every line that was ever on the terminal."""
    return [line for line in re.split(r"[\r\n]+", _CONTROL.sub("", stream.getvalue())) if line.strip()]


def test_json_lines_name_the_start_every_epoch_and_the_steps_that_are_logged(tmp_path: Path) -> None:
    stream, job = io.StringIO(), small_job(tmp_path, log_every=7)
    with JsonLinesReporter(stream) as reporter:
        run = train(job, tmp_path / "run", reporter=reporter)
    first, *rows = _rows(stream)
    assert first["task"] == "language-model"
    assert first["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert (first["device"], first["threads"], first["processes"]) == ("cpu", torch.get_num_threads(), 1)
    assert (first["step"], first["of"]) == (0, run.epochs[-1].step)
    assert first["tokens"] == run.epochs[0].weight
    assert first["vocabulary"] == run.job.model.vocabulary_size
    assert [row["validation_loss"] for row in rows if "epoch" in row] == [m.score for m in run.epochs]
    assert [row["step"] for row in rows if "epoch" not in row] == list(range(7, first["of"] + 1, 7))


def test_a_number_of_steps_of_its_own_goes_before_the_runs(tmp_path: Path) -> None:
    stream = io.StringIO()
    with JsonLinesReporter(stream, every=5) as reporter:
        train(small_job(tmp_path, max_steps=12), tmp_path / "run", reporter=reporter)
    assert [row["step"] for row in _rows(stream) if "loss" in row] == [5, 10]


def test_a_tagger_counts_its_sentences(tmp_path: Path) -> None:
    (tmp_path / "text.tsv").write_text("the\tat\nend\tnn\n\n" * 40)
    stream = io.StringIO()
    settings = {"text": str(tmp_path / "text.tsv"), "max_steps": 1, "hidden_size": 4, "embedding_size": 4}
    job = make_job("tagger", {**settings, "architecture": "gru"})
    with JsonLinesReporter(stream) as reporter:
        run = train(job, tmp_path / "run", reporter=reporter)
    held_out = round(40 * job.data.validation_fraction)
    assert _rows(stream)[0].items() >= {"sentences": 40 - held_out, "tags": 2}.items()
    assert _rows(stream)[0]["vocabulary"] == run.job.model.vocabulary_size


def test_a_resumed_run_says_where_it_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(small_job(tmp_path), tmp_path / "run", reporter=KillAt(6))
    stream, reporter = _terminal(200)
    with reporter:
        resume(tmp_path / "run", reporter=reporter)
    assert re.search(r"1 thread; from step 4 of \d+$", _shown(stream)[0])
    stream = io.StringIO()
    resume(tmp_path / "run", reporter=JsonLinesReporter(stream))
    assert not stream.getvalue()  # it is finished


def test_words_of_a_start() -> None:
    assert _start(step=3000, total_steps=5000, processes=2, threads=1).line() == (
        "language-model: tokens 5,400,000, vocabulary 84, parameters 876,929; cpu, 1 thread, 2 processes; "
        "from step 3,000 of 5,000"
    )
    assert _start().line().endswith("; cpu, 2 threads; 2,214 steps")


def test_a_terminal_gets_a_first_line_and_one_an_epoch(tmp_path: Path) -> None:
    stream, reporter = _terminal(120)
    with reporter:
        assert not stream.getvalue()  # while the data are read there is nothing to show
        run = train(small_job(tmp_path), tmp_path / "run", reporter=reporter)
    lines = _shown(stream)
    assert lines[0].startswith("language-model: tokens ")
    for metrics in run.epochs:
        assert any(f"validation loss {metrics.score:.4f}" in line for line in lines)
    assert not any("nan" in line for line in lines)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_bar_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("pyrnn.train.progress.time.perf_counter", lambda: next(clock) / 16)
    stream, reporter = _terminal(width)
    total = 123_456
    with reporter:
        reporter.on_start(_start(total_steps=total))
        for done in range(1, 20):
            reporter.on_step(step := _Step(done, total), step)  # type: ignore[arg-type]
    bars = [line for line in _shown(stream) if "━" in line]
    assert all(f"/{total}" in line for line in bars)
    assert "loss" not in bars[0]  # there is none yet
    assert "loss 1.250" in bars[-1]
    assert "tokens/s" in bars[-1]
    assert all(len(line) <= width for line in bars)
    assert not any("…" in line for line in bars)


def test_the_first_speed_of_a_resumed_run_counts_neither_earlier_steps_nor_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("pyrnn.train.progress.time.perf_counter", lambda: now)
    stream, reporter = _terminal(120)
    with reporter:
        now = 100.0  # of reading
        reporter.on_start(_start(step=1000))
        now = 100.5
        reporter.on_step(step := _Step(1001, 2214), step)  # type: ignore[arg-type]
    assert "4,096 tokens/s" in _shown(stream)[-1]
