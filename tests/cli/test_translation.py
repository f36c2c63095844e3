"""The translator's commands from end to end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.tasks.test_translation import pairs, write


@pytest.fixture(scope="module")
def content() -> list[tuple[str, str]]:
    return pairs(120)


@pytest.fixture(scope="module", params=["gru", "transformer"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, content: list[tuple[str, str]]
) -> Path:
    from pyrnn.tasks import make_job
    from pyrnn.train import train
    from tests.tasks.test_translation import SMALL

    folder = tmp_path_factory.mktemp("translation")
    file = write(folder / "pairs.tsv", content)
    job = make_job("translation", {"pairs": str(file), **SMALL, "epochs": 2, "architecture": request.param})
    train(job, folder / "run")
    return folder / "run"


def test_train(command: Command, tmp_path: Path, content: list[tuple[str, str]]) -> None:
    file, run = write(tmp_path / "pairs.tsv", content), tmp_path / "run"
    flags = (
        "--level character --epochs 1 --hidden-size 8 --embedding-size 4 --batch-size 8 --validation-size 9"
    )
    code, out, err = command(f"train translation {run} --pairs {file} {flags} --objective bleu")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert all(row["validation_bleu"] >= 0 for row in rows if "epoch" in row)
    assert f"{run}: highest validation bleu" in err
    assert f"next: pyrnn translate {run}" in err
    code, out, err = command(f"info {run}")
    assert code == 0, err
    assert "translation: " in out


def test_a_line_for_a_line(command: Command, run: Path, tmp_path: Path) -> None:
    code, out, err = command(f"translate {run}", stdin="abc\n\n  \nxyz\n" + "abcdef" * 40)
    assert code == 0, err
    lines = out.split("\n")
    assert len(lines) == 6
    assert lines[1:3] == ["", ""]
    code, out, err = command(f"translate {run} --n-best 3 --beam-width 4 --scores", stdin="abc\n\nfed\n")
    assert code == 0, err
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["1"] * 3 + ["2"] + ["3"] * 3
    assert all(len(row) == 4 and float(row[1]) <= 0 for row in rows)
    reference = tmp_path / "reference.txt"
    reference.write_text("CBA\nFED\n")
    pictures = tmp_path / "pictures"
    line = f"translate {run} --reference {reference} --attention-dir {pictures}"
    code, out, err = command(line, stdin="abc\ndef\n")
    assert code == 0, err
    assert "BLEU = " in err
    assert "95 % interval" in err
    assert sorted(path.name for path in pictures.iterdir()) == ["1.png", "2.png"]
    code, _, err = command(line, stdin="abc\n")
    assert code == 2
    assert "has 2 lines, the input 1" in err


def test_phrases(command: Command, run: Path) -> None:
    code, out, err = command(f"translate {run} --constraints --forbid F", stdin="fed\tCAB\tBA\t\nabc\n")
    assert code == 0, err
    first, second = out.splitlines()
    assert "CAB" in first
    assert "BA" in first
    assert "F" not in first + second
    code, _, err = command(f"translate {run} --constraints --forbid A", stdin="fed\tCAB\n")
    assert code == 2
    assert "line 1: the phrase 'CAB' is required and has 'A', which is forbidden" in err


def test_scores_of_pairs(command: Command, run: Path) -> None:
    code, out, err = command(f"score {run}", stdin="abc\tCBA\n\nabc\tABC\nabc\n \t\nabc\t\n\tA\n")
    assert code == 2
    assert "3 of 5 pairs could not be scored" in err
    right, wrong, odd, *empty = (line.split("\t") for line in out.splitlines())
    assert [row[-1] for row in empty] == [
        "not scored: line 6: the target is empty, the other side is 'abc'",
        "not scored: line 7: the source is empty, the other side is 'A'",
    ]
    assert right[3] == wrong[3] == "4"
    assert right[5:] == ["abc", "CBA"]
    assert odd[-1] == "not scored: line 4: 1 columns, expected source and target"


def test_evaluation_and_search_errors(
    command: Command, run: Path, tmp_path: Path, content: list[tuple[str, str]]
) -> None:
    file, table = write(tmp_path / "test.tsv", content[:20]), tmp_path / "sentences.tsv"
    code, out, err = command(f"evaluate {run} --text {file} --json")
    assert code == 0, err
    assert 0 <= json.loads(out)["bleu"] <= 100
    picture = tmp_path / "widths.png"
    flags = f"--width 1 --width 3 --sentences {table} --to {picture}"
    code, out, err = command(f"analyze-search {run} --text {file} {flags}")
    assert code == 0, err
    rows = [line.split("\t") for line in out.splitlines()[1:3]]
    assert [row[0] for row in rows] == ["1", "3"]
    assert all(sum(map(int, row[4:])) == 20 for row in rows)
    assert all(float(row[2]) >= float(row[1]) for row in rows)  # the oracle is no worse
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    assert len(lines) == 40
    assert {line[1] for line in lines} <= {"none", "search", "model"}
    for width in ("1", "3"):
        counted = sum(line[:2] == [width, "search"] for line in lines)
        assert counted == int(next(row for row in rows if row[0] == width)[5])
    assert picture.stat().st_size > 1000


def test_a_picture_of_attention(command: Command, run: Path, tmp_path: Path) -> None:
    to = tmp_path / "attention.png"
    code, out, err = command(f"plot attention {run} --source abc --to {to}")
    assert code == 0, err
    assert out.endswith(f"{to}\n")
    code, out, err = command(f"plot attention {run} --source abc --target CBA --to {to}")
    assert (code, out) == (0, f"CBA\n{to}\n"), err
    for target in ("", "--target CBA"):
        code, _, err = command(f"plot attention {run} --source ' ' {target} --to {to}")
        assert code == 2
        assert "the sentence is empty" in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--replace-unknown", "unknown words are replaced through the attention, and this model has none"),
        ("--attention-dir pictures", "this model has no attention"),
    ],
)
def test_a_model_without_attention_is_refused_at_once(
    command: Command, tmp_path: Path, content: list[tuple[str, str]], flags: str, words: str
) -> None:
    from pyrnn.tasks import make_job
    from pyrnn.train import train
    from tests.tasks.test_translation import SMALL

    file = write(tmp_path / "pairs.tsv", content)
    job = make_job("translation", {"pairs": str(file), **SMALL, "max_steps": 1, "attention": "none"})
    train(job, tmp_path / "run")
    code, out, err = command(f"translate {tmp_path / 'run'} {flags} --reference missing", stdin="")
    assert (code, out) == (2, "")
    assert words in err
    assert not Path("pictures").exists()


def test_runs_of_other_tasks(command: Command, run: Path, trained: Path) -> None:
    code, _, err = command(f"translate {trained}", stdin="abc\n")
    assert code == 2
    assert "which cannot translate" in err
    code, _, err = command(f"generate {run} --prompt a")
    assert code == 2
    assert "which cannot generate; it can evaluate, translate, score, analyze-search" in err


# ---- bad lines -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_unk(tmp_path_factory: pytest.TempPathFactory, content: list[tuple[str, str]]) -> Path:
    """A run as earlier versions made them: its characters have no <unk>."""
    from pyrnn.tasks import make_job
    from pyrnn.text import Vocabulary, VocabularyTokenizer, train_tokenizer
    from pyrnn.train import train
    from tests.tasks.test_translation import SMALL

    def old(*args: object, **options: object) -> VocabularyTokenizer:
        vocabulary = train_tokenizer(*args, **options).vocabulary  # type: ignore[arg-type,attr-defined]
        return VocabularyTokenizer("character", Vocabulary(vocabulary.tokens[1:], eos=vocabulary.eos))

    folder = tmp_path_factory.mktemp("old")
    file = write(folder / "pairs.tsv", content)
    job = make_job("translation", {"pairs": str(file), **SMALL, "max_steps": 2, "architecture": "gru"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrnn.text.train_tokenizer", old)
        train(job, folder / "run")
    return folder / "run"


def test_a_bad_line_is_named_and_the_others_are_translated(command: Command, without_unk: Path) -> None:
    code, right, err = command(f"translate {without_unk}", stdin="abc\nfed\n")
    assert code == 0, err
    lines = ["", *["abc"] * 600, "日", "fed\tA" + "B" * 40, "fed\tDA", "fed"]
    given = "\n".join(lines).encode() + b"\n\xff\nabc\n"
    done = subprocess.run(
        [sys.executable, "-m", "pyrnn", "translate", str(without_unk), "--constraints", "--device", "cpu"],
        input=given,
        capture_output=True,
    )
    assert done.returncode == 2
    out, told = done.stdout.decode().split("\n"), done.stderr.decode().splitlines()
    abc, fed, _ = right.split("\n")
    assert out == ["", *[abc] * 600, "", "", out[603], fed, "", abc, ""]
    assert "DA" in out[603]
    assert len(told) == 4
    assert re.fullmatch("line 602: .*'日'.*<unk>", told[0])
    assert re.fullmatch(
        "line 603: prefix and required tokens are 41 tokens, and its output may have 28.*", told[1]
    )
    assert "line 606 is not UTF-8" in told[2]
    assert told[3].startswith("error: 3 of 607 lines could not be translated")


def test_bad_lines_keep_their_columns(command: Command, without_unk: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference.txt"
    reference.write_text("CBA\nX\n")
    flags = f"--scores --n-best 2 --beam-width 2 --reference {reference}"
    code, out, err = command(f"translate {without_unk} {flags}", stdin="abc\n日\n")
    assert code == 2
    rows = [line.split("\t") for line in out.splitlines()]
    assert [len(row) for row in rows] == [4, 4, 4]
    assert rows[2] == ["2", "-", "-", ""]
    assert "BLEU = " in err


def test_bad_pairs_are_named_and_the_others_scored(command: Command, without_unk: Path) -> None:
    code, out, err = command(
        f"score {without_unk}", stdin="\nabc\tCBA\n\nabc\t日\n日\tA\nabc\tA\tB\nfed\tF\n"
    )
    assert code == 2
    assert "3 of 5 pairs could not be scored" in err
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] == "-" for row in rows] == [False, True, True, True, False]
    assert [re.search(r"line \d+", row[-1])[0] for row in rows[1:4]] == ["line 4", "line 5", "line 6"]  # type: ignore[index]


def test_bad_pairs_are_named_and_the_others_analyzed(
    command: Command, without_unk: Path, tmp_path: Path
) -> None:
    file, table = tmp_path / "test.tsv", tmp_path / "table.tsv"
    file.write_text("abc\tCBA\n\n日\tA\nfed\tDEF\na\tA\n", encoding="utf-8")
    # By the source's length a is to have at most 24 tokens, which is less than the least.
    flags = f"--width 1 --width 2 --min-tokens 25 --sentences {table}"
    code, out, err = command(f"analyze-search {without_unk} --text {file} {flags}")
    assert code == 2
    assert [sum(map(int, row.split("\t")[4:])) for row in out.splitlines()[1:]] == [2, 2]
    told = err.splitlines()
    assert told[0].startswith(f"{file}, line 3: ")
    assert told[1].startswith(f"{file}, line 5: an output has at least 25 tokens by min_tokens")
    assert "2 of 4 pairs were left out" in told[2]
    assert [line.split("\t")[4] for line in table.read_text().splitlines()] == ["abc", "fed"] * 2
