"""The classifier's commands from end to end."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command
from tests.tasks.test_classifier import reviews, rings, write


def test_every_command_on_one_run(command: Command, tmp_path: Path) -> None:
    text, run = write(tmp_path / "text.tsv", reviews(200)), tmp_path / "run"
    flags = "--epochs 4 --architecture average --embedding-size 8 --batch-size 8 --learning-rate 0.05"
    code, out, err = command(f"train classifier {run} --text {text} {flags}")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["validation_macro_f1"] for row in rows if "epoch" in row]
    assert (rows[0]["examples"], rows[0]["classes"]) == (180, 2)
    assert f"{run}: highest validation accuracy" in err
    assert f"next: pyrnn classify {run}" in err
    code, out, err = command(f"evaluate {run} --text {text} --json")
    assert (code, json.loads(out)["examples"]) == (0, 200), err
    code, out, err = command(f"classify {run} --device cpu", stdin="a fine film\n\nthe dull plot")
    assert code == 0, err
    assert [line.split("\t")[0] for line in out.splitlines()] == ["good", "", "bad"]
    code, out, err = command(f"classify {run} --top 5 --json", stdin="fine\n\n")
    first, empty = (json.loads(line) for line in out.splitlines())
    assert first["labels"] == ["good", "bad"]
    assert abs(sum(first["probabilities"]) - 1) < 1e-9
    assert empty == {"labels": [], "probabilities": []}
    code, out, err = command(f"info {run}")
    assert code == 0, err
    assert "mean of the tokens' vectors of 8 numbers" in out
    for name, told in (("confusion", "accuracy "), ("calibration", "calibration_error ")):
        code, out, err = command(f"plot {name} {run} --text {text} --to {tmp_path / name}.png")
        assert code == 0, err
        assert out.startswith(told)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    code, _, err = command(f"tag {run}")
    assert code == 2
    assert "which cannot tag; it can evaluate, classify" in err


def test_numbers_are_classified_line_by_line(command: Command, tmp_path: Path) -> None:
    run, file = tmp_path / "run", rings(tmp_path / "a.csv")
    flags = "--architecture feedforward --epochs 30 --hidden-size 16 --learning-rate 0.02"
    code, _, err = command(f"train classifier {run} --features {file} {flags}")
    assert code == 0, err
    lines = "1e6,0,5\n\nx,1,2\n1000000\t9\t5\n1,2\n"
    code, out, err = command(f"classify {run}", stdin=lines)
    assert code == 2
    assert [line.split("\t")[0] for line in out.splitlines()] == ["in", "", "", "out", ""]
    assert "line 3: expected a number, got 'x' as number 1" in err
    assert "line 5: expected 3 numbers as trained on, got 2" in err
    assert "2 of 5 lines could not be classified" in err
    code, out, err = command(f"info {run}")
    assert "3 numbers, 2 layers of 16 units" in out


def test_what_cannot_be_trained_on_is_told_in_words(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("good\ta film\nbad\n")
    code, _, err = command(f"train classifier {tmp_path / 'run'} --text {tmp_path / 'a.tsv'}")
    assert code == 2
    assert "a.tsv, line 2: expected 2 columns as in line 1, got 1" in err
    assert "Traceback" not in err


def test_sentences_of_a_text_are_found(command: Command, tmp_path: Path) -> None:
    vectors, text = tmp_path / "vectors.txt", tmp_path / "text.txt"
    vectors.write_text("red 2 0 1\nblue 2 1 0\ncat -1 2 0\ndog -1 3 1\nthe 1 1 1\n")
    text.write_text("The red\nthe cat\n☃ ☃\nthe blue\n")
    code, out, err = command(f"vectors sentences {vectors} --text {text} -k 1", stdin="the dog\nred, blue\n")
    assert code == 0, err
    assert [line.split("\t")[:2] for line in out.splitlines()] == [
        ["the dog", "the cat"],
        ["red, blue", "The red"],
    ]
    assert "1 of 4 sentences have no known word" in err
    line = f"vectors sentences {vectors} --text {text} --method mean --json -k 2"
    code, out, err = command(line, stdin="☃\nblue\n")
    assert code == 2
    assert "line 1: no word of it has a vector" in err
    assert [json.loads(row)["nearest"] for row in out.splitlines()] == ["the blue", "The red"]
    assert command(f"vectors sentences {vectors} --text {text}", stdin="")[0] == 2
