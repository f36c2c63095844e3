"""Numbers that make no sense are refused in words, before memory is taken or a file written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from pyrnn import _native
from tests.cli.conftest import Command

HUGE, BEYOND = 10**12, 2**63


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (f"--hidden-size {HUGE}", "sizes that no model can have"),
        (f"--hidden-size {BEYOND - 1}", "sizes that no model can have"),
        (f"--hidden-size {BEYOND}", "hidden_size must be at most 9223372036854775807"),
        (
            "--hidden-size 1000000",
            r"takes at least [\d,]+ bytes, cpu has [\d,]+: choose a smaller hidden_size",
        ),
        (f"--embedding-size {HUGE}", "takes at least"),
        ("--num-layers 1000000000", "num_layers must be at most 1000"),
        ("--architecture transformer --num-heads 1000000000", "multiple of num_heads"),
        (f"--batch-size {HUGE}", f"too few for one window: {HUGE} streams"),
        (f"--bptt-steps {HUGE}", f"streams of {HUGE} steps need"),
        ("--batch-size 1 --validation-fraction 1e-9", "too few for one window: 1 streams of 1 steps"),
        (f"--epochs {BEYOND}", "epochs must be at most"),
        (f"--warmup-steps {10**400}", "warmup_steps must be at most"),
        (f"--seed {BEYOND}", "seed must be at most"),
        ("--seed -1", "seed must not be negative"),
        ("--weight-decay inf", "weight_decay must be at most"),
        ("--betas nan 0.9", "betas, momentum, ema_decay and label_smoothing must lie in"),
        (f"--level subword --max-vocabulary {HUGE}", "max_size must be at most 1048576 at level subword"),
        ("--threads 100000", r"threads must lie in \[1, \d+\] on this machine, got 100000"),
        ("--threads 0", "threads must lie in"),
        (f"--threads {10**20}", "threads must lie in"),
        ("--device meta", "expected"),
    ],
)
def test_a_job_that_makes_no_sense(flags: str, words: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be\n" * 40)
    before = torch.get_num_threads()
    code, _, err = command(
        f"train language-model {tmp_path / 'deep' / 'run'} --text {tmp_path / 'text.txt'} {flags}"
    )
    assert code == 2, err
    assert re.fullmatch(rf"error: .*{words}.*\n", err), err
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    assert torch.get_num_threads() == before


def test_a_text_that_is_too_short_leaves_room_for_another_try(command: Command, tmp_path: Path) -> None:
    line = f"train language-model {tmp_path} --text {tmp_path / 'text.txt'} --max-steps 1 --hidden-size 8"
    (tmp_path / "text.txt").write_text("to be or not to be\n")
    folder = tmp_path / "run"
    line = line.replace(str(tmp_path), str(folder), 1)
    folder.mkdir()
    assert command(line)[0] == 2
    assert list(folder.iterdir()) == []
    code, _, err = command(f"{line} --batch-size 1 --bptt-steps 4")
    assert code == 0, err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--seed -1", r"seed must lie in \[0, 9223372036854775807\], got -1"),
        (f"--seed {2**64}", "seed must lie in"),
        (f"--samples {HUGE}", "less than or equal to 10000"),
        (f"--top-k {BEYOND}", "top_k must be at most"),
        (f"--max-tokens {10**30}", "max_tokens must be at most"),
        ("--temperature nan", "temperature must be finite"),
    ],
)
def test_sampling_that_makes_no_sense(flags: str, words: str, command: Command, trained: Path) -> None:
    code, _, err = command(f"generate {trained} --prompt the {flags}")
    assert code == 2, err
    assert re.search(words, err), err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("recurrent --threads 100000", r"--threads: expected an integer in \[1, \d+\], got 100000"),
        ("attention --threads 0", "--threads: expected an integer"),
        ("transformer --repeats 1", r"--repeats: expected an integer in \[2, "),
        ("recurrent --seconds nan", "--seconds: expected seconds, finite and not negative, got nan"),
        ("language-model --rounds 0", "--rounds: expected an integer"),
        ("language-model --seed -1", "--seed: expected an integer"),
        ("language-model --threads many", "--threads: expected an integer .* got many"),
    ],
)
def test_a_benchmark_that_makes_no_sense(line: str, words: str, command: Command) -> None:
    code, _, err = command(f"bench {line}")
    assert code == 2, err
    assert re.search(words, err), err


def test_memory_that_cannot_be_had_is_told(
    command: Command, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrnn.tasks.evaluate", lambda *_: torch.empty(2**50))
    code, _, err = command(f"evaluate {trained} --text shakespeare")
    assert code == 1
    assert re.fullmatch(r"error: there is not enough memory: use smaller sizes.*\n", err), err


def test_kernels_take_no_more_threads_than_a_machine_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 100_000)
    assert _native.num_threads() == _native.MOST_THREADS
