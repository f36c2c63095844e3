"""What --text takes: several files, folders, and what can be read only once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyrnn.tasks import load_run
from pyrnn.tasks.language_model import TextRun, bytes_per_token, run_ids
from tests.cli.conftest import TEXT, Command

TINY = "--max-steps 2 --bptt-steps 8 --hidden-size 8 --embedding-size 4 --batch-size 4"


def trained_on(run: Path) -> str:
    """The text that a run's files of ids hold."""
    loaded = load_run(run)
    assert isinstance(loaded, TextRun)
    parts = [block for ids in run_ids(loaded.job, run) for block in ids.blocks()]
    return "".join(loaded.tokenizer.decode(part) for part in parts)


@pytest.fixture
def halves(tmp_path: Path) -> list[Path]:
    """Two files of text; the first does not end with a newline."""
    folder = tmp_path / "texts"
    folder.mkdir()
    names = [folder / "1.txt", folder / "2.txt"]
    names[0].write_text(TEXT[:999].rstrip("\n"))
    names[1].write_text(TEXT[999:3000])
    return names


def test_several_files_and_a_folder_are_joined(command: Command, halves: list[Path], tmp_path: Path) -> None:
    joined = "\n".join(path.read_text() for path in halves)
    named = f"--text {halves[0]} --text {halves[1]}"
    for name, text in (("files", named), ("folder", f"--text {halves[0].parent}")):
        code, _, err = command(f"train language-model {tmp_path / name} {text} {TINY}")
        assert code == 0, err
        assert trained_on(tmp_path / name) == joined
        code, out, err = command(f"evaluate {tmp_path / name} {text} --json")
        assert (code, f'"tokens": {len(joined) - 1}' in out) == (0, True), (out, err)
    settings = f"{tmp_path / 'files'} --resume {named}"
    assert command(f"train language-model {settings}")[0] == 0  # the settings are those of the run
    code, _, err = command(f"plot gradients {tmp_path / 'files'} {named} --lags 9 --to {tmp_path / 'g.svg'}")
    assert code == 0, err


def test_a_configuration_names_several_files(command: Command, halves: list[Path], tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(f'[data]\ntext = ["{halves[0]}", "{halves[1]}"]\n')
    code, _, err = command(f"train language-model {tmp_path / 'run'} --config {tmp_path / 'job.toml'} {TINY}")
    assert code == 0, err
    (tmp_path / "bad.toml").write_text("[data]\ntext = 3\n")
    code, _, err = command(f"train language-model {tmp_path / 'run2'} --config {tmp_path / 'bad.toml'}")
    assert (code, "data: text must be str or a list of str, got 3" in err) == (2, True), err


def test_the_texts_of_a_tagger_are_joined(command: Command, tmp_path: Path) -> None:
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text("the\tDET\nend\tNOUN\n\n" * 20)
    texts = f"--text {tmp_path / 'a.tsv'} --text {tmp_path / 'b.tsv'}"
    flags = "--max-steps 1 --hidden-size 4 --embedding-size 2 --batch-size 4"
    code, _, err = command(f"train tagger {tmp_path / 'run'} {texts} {flags}")
    assert code == 0, err
    code, out, err = command(f"evaluate {tmp_path / 'run'} {texts} --json")
    assert (code, '"tokens": 80' in out) == (0, True), (out, err)


def test_a_pipe_is_read_once(command: Command, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for line in (f"train language-model {tmp_path / 'run'} {TINY}", f"evaluate {tmp_path / 'run'}"):
        writer = threading.Thread(target=pipe.write_text, args=(TEXT[:3000],))
        writer.start()
        code, _, err = command(f"{line} --text {pipe}")
        assert code == 0, err
        writer.join()
    assert trained_on(tmp_path / "run") == TEXT[:3000]


def test_standard_input_is_a_text(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "pyrnn", "train", "language-model", str(tmp_path / "run"), *TINY.split()]
    line += ["--text", "/dev/stdin"]
    subprocess.run(line, input=TEXT[:3000].encode(), check=True, capture_output=True)
    assert trained_on(tmp_path / "run") == TEXT[:3000]


def test_the_gradients_of_a_transformer_are_drawn(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = "--architecture transformer --num-layers 2 --num-heads 2 " + TINY.replace(
        "--embedding-size 4", ""
    )
    (tmp_path / "text.txt").write_text(TEXT[:5000])
    code, _, err = command(f"train language-model {run} --text {tmp_path / 'text.txt'} {flags}")
    assert code == 0, err
    code, out, err = command(f"plot gradients {run} --lags 40 --to {tmp_path / 'g.png'}")
    assert (code, out.startswith("run: ")) == (0, True), err


def test_curves_of_different_tokens_are_compared(command: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT[:5000])
    for level in ("character", "word"):
        flags = f"--text {tmp_path / 'text.txt'} --level {level} {TINY}"
        code, _, err = command(f"train language-model {tmp_path / level} {flags}")
        assert code == 0, err
    assert bytes_per_token(tmp_path / "character") == 1
    assert 3 < (bytes_per_token(tmp_path / "word") or 0) < 6
    assert bytes_per_token(tmp_path) is None
    runs = f"{tmp_path / 'character'} {tmp_path / 'word'}"
    code, _, err = command(f"plot curves {runs} --to {tmp_path / 'c.svg'}")
    assert code == 0, err
