"""The commands for word vectors from end to end."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyrnn.cli.table import show
from pyrnn.embeddings import convert_vectors
from pyrnn.tasks import make_job
from pyrnn.train import train
from tests.cli.conftest import Command
from tests.cli.test_terminal import Terminal

GLOVE = "man 1 0 0 .1\nking 1 0 1 .1\nwoman 0 1 0 .1\nqueen 0 1 1 .2\ncar -1 -1 0 1\n"


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE)
    return path


def test_questions_come_from_arguments_or_lines(command: Command, vectors: Path) -> None:
    assert command(f"vectors nearest {vectors} king -k 2") == (
        0,
        "king\tman\t0.7089\nking\tqueen\t0.5037\n",
        "",
    )
    code, out, err = command(f"vectors nearest {vectors} -k 1", stdin="king\n\nquen\nman\n")
    assert (code, out) == (2, "king\tman\t0.7089\nman\tking\t0.7089\n")
    assert err.splitlines() == [
        "line 3: 'quen' is not among the words; near in spelling: queen",
        "error: 1 of 3 lines had no answer, for the reasons above",
    ]
    code, out, _ = command(f"vectors similarity {vectors} --json", stdin="king queen\nking car\n")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["word"], row["other"]) for row in rows] == [("king", "queen"), ("king", "car")]
    assert rows[0]["similarity"] == pytest.approx(0.50372, abs=1e-5)
    for method in ("add", "multiply"):
        code, out, _ = command(f"vectors analogy {vectors} man king woman -k 1 --method {method}")
        assert out.startswith("man\tking\twoman\tqueen\t")
    assert command(f"vectors odd-one-out {vectors} man king car")[1] == "man king car\tcar\n"


def test_vectors_are_judged_by_files(command: Command, vectors: Path, tmp_path: Path) -> None:
    (tmp_path / "q").write_text(": family\nman king woman queen\nman king boy girl\n")
    (tmp_path / "p").write_text("man\tking\t3\nman\tcar\t1\nking\tqueen\t2\nno\n")
    line = f"vectors evaluate {vectors} --analogies {tmp_path / 'q'} --similarities {tmp_path / 'p'}"
    code, out, err = command(line)
    assert (code, out) == (
        0,
        "family\t1.0000\t1\t1\t1\ntotal\t1.0000\t1\t1\t1\np\t1.0000\t0.0000\t0.9335\t3\t0\n",
    )
    assert "q: 50.0% of 2 questions have unknown words" in err
    assert "p: 0.0% of 3 pairs have unknown words; 1 line left out, which is no pair" in err
    code, out, _ = command(f"{line} --dummy-for-unknown --json")
    assert [json.loads(row)["accuracy"] for row in out.splitlines()[:2]] == [0.5, 0.5]


def test_files_are_converted_and_described(command: Command, vectors: Path, tmp_path: Path) -> None:
    for target, written in (("folder", "folder"), ("a.bin", "word2vec-binary"), ("b.vec.gz", "word2vec")):
        code, _, err = command(f"vectors convert {vectors} {tmp_path / target}")
        assert (code, err) == (0, f"{tmp_path / target}: {written}\n")
        code, out, _ = command(f"vectors info {tmp_path / target} --json")
        assert (code, json.loads(out)["words"], json.loads(out)["dimensions"]) == (0, 5, 4)
        vectors = tmp_path / target
    assert command(f"vectors info {vectors}")[1].startswith("words\t5\ndimensions\t4\nfirst words\tman king")


def test_a_killed_conversion_leaves_no_temporary_file(vectors: Path, tmp_path: Path) -> None:
    """SIGTERM ends the process on the spot while the second pass writes."""
    program = (
        "import os, signal, sys\n"
        "sys.addaudithook(lambda name, args: name == 'open' and '.a.bin.' in str(args[0]) and "
        "os.kill(os.getpid(), signal.SIGTERM))\n"
        "from pyrnn.embeddings import convert_vectors\n"
        "convert_vectors(*sys.argv[1:])\n"
    )
    file, temporary = tmp_path / "vectors.txt", tmp_path / "temporary"
    temporary.mkdir()
    convert_vectors(vectors, file)
    line = (sys.executable, "-c", program, str(file), str(tmp_path / "a.bin"))
    ended = subprocess.run(line, env={**os.environ, "TMPDIR": str(temporary)}, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert not [*temporary.iterdir()]


def test_a_run_of_words_has_vectors(command: Command, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 40)
    settings = {"level": "word", "max_steps": 1, "hidden_size": 8, "text": str(tmp_path / "text.txt")}
    train(make_job("language-model", {**settings, "batch_size": 2, "bptt_steps": 8}), tmp_path / "run")
    code, out, err = command(f"vectors nearest {tmp_path / 'run'} fox -k 3")
    assert (code, len(out.splitlines())) == (0, 3), err
    assert command(f"vectors convert {tmp_path / 'run'} {tmp_path / 'out'}")[0] == 0
    assert command(f"vectors nearest {tmp_path / 'out'} fox -k 3")[1] == out
    code, _, err = command(f"vectors info {trained}")
    assert code == 2
    assert "tokens must be words, these are characters" in err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nearest {v} kingg", "'kingg' is not among the words; near in spelling: king"),
        ("nearest {v} -k 0 king", "Invalid value for"),
        ("similarity {v} king", "a question has 2 words, got 1 word"),
        ("analogy {v} king man", "a question has 3 words, got 2 words"),
        ("odd-one-out {v} king man", "at least 3 words, got 2"),
        ("evaluate {v}", "there is nothing to judge by"),
        ("nearest {v}", "there are no words"),
        ("nearest {v}/gone king", "not a directory"),
        ("nearest gone king", "no such file"),
        ("info {f}", "holds no word vectors"),
        ("info {v} --format word2vec", "line 1 should be the numbers of words"),
        ("info {v} --limit 0", "limit must be at least 1"),
        ("convert {v} {f}/a.bin --to csv", "csv"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(line: str, told: str, command: Command, vectors: Path) -> None:
    code, out, err = command("vectors " + line.format(v=vectors, f=vectors.parent))
    assert (code, out) == (2, "")
    assert told in err.lower() if told == told.lower() else told in err
    assert "Traceback" not in err


def test_a_terminal_is_shown_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"word": "king", "similarity": 0.5}, {"word": "a\tb\x1b", "similarity": None}]
    shown: list[str] = []
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stdout", stream)
        show(rows, as_json=False, raw=False)
        shown.append(stream.getvalue())
    assert shown == ["word  similarity\nking      0.5000\na\tb\\x1b\n", "king\t0.5000\na\\tb\x1b\t\n"]
