"""Labelled examples: which line names columns, what is held out, which numbers are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrnn.text import LabelledText, as_features, read_labelled_texts, split_labelled


@pytest.mark.parametrize(
    ("lines", "columns", "expected"),
    [
        (["id,text,stars", "7,fine,4"], {"label": 3}, ("4", "fine")),
        (["id,label,words", "7,good,fine"], {"text": 3}, ("good", "fine")),
        (["review,label", "fine,good"], {}, ("good", "fine")),
        (["text,sentiment", "fine,good"], {}, ("good", "fine")),
        (["sentiment,text", "good,fine"], {}, ("good", "fine")),
        (["good,fine"], {}, ("good", "fine")),
        (["fine,good"], {"label": 2, "text": 1}, ("good", "fine")),
    ],
)
def test_a_line_of_names_is_no_example(
    lines: list[str], columns: dict[str, int], expected: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("\n".join(lines) + "\n")
    assert [(each.label, each.text) for each in read_labelled_texts(file, **columns)] == [expected]


def test_a_long_text_of_csv_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("good," + "fine " * 40_000 + "\n")
    (example,) = read_labelled_texts(file)
    assert len(example.text) == 5 * 40_000 - 1


def test_what_is_held_out_is_the_fraction_of_examples() -> None:
    same = [LabelledText("a", "always the same")] * 900
    others = [LabelledText("ab"[n % 10 > 0], f"text {n}") for n in range(1000)]
    training, validation = split_labelled([*same, *others], 0.1)
    assert len(training) + len(validation) == 1900
    assert 80 <= len(validation) <= 190
    assert not {each.text for each in training} & {each.text for each in validation}


def test_numbers_that_leave_float32_are_refused() -> None:
    assert as_features(["1e18", "-2"], "line 1") == (1e18, -2.0)
    with pytest.raises(ValueError, match=r"line 1: expected numbers of at most 1e.18, got '1e300'"):
        as_features(["1", "1e300"], "line 1")
