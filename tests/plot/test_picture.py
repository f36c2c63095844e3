from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from pyrnn.plot.drawing import picture, shown

STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".PNG": b"\x89PNG"}


def draw(path: Path | str) -> None:
    with picture(path, width=2, height=2) as figure:
        figure.subplots().plot([1, 2], [3, 4], label=shown("a"))


@pytest.mark.parametrize("suffix", STARTS)
def test_the_name_decides_the_format_and_the_same_picture_has_the_same_bytes(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    draw(path)
    first = path.read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    draw(str(path))
    assert first.startswith(STARTS[suffix])
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.jpg", "a", "png", "a.png.gz"])
def test_other_endings_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"must end in .png, .svg, .pdf, got '{name}'"):
        draw(tmp_path / name)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; make it first"):
        draw(tmp_path / "nowhere" / "a.png")


def test_a_failed_drawing_leaves_the_old_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), picture(path, width=2, height=2):
        _ = 1 / 0
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_callers_settings_stay(tmp_path: Path) -> None:
    before: dict[Any, Any] = dict(matplotlib.rcParams)
    draw(tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_when_it_draws_and_pyplot_never() -> None:
    code = """
import io, sys, tempfile
import pyrnn.plot
assert "matplotlib" not in sys.modules
with tempfile.TemporaryDirectory() as folder:
    pyrnn.plot.plot_curves({"a": [{"step": 1, "loss": 1.0}]}, folder + "/a.png")
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install pyrnn\[viz\]"):
        draw(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "printed"),
    [("lstm", "lstm"), ("_lstm", " _lstm"), ("$x$", r"\$x\$"), ("x" * 99, "x" * 39 + "…")],
)
def test_names_are_printed_as_they_are(name: str, printed: str) -> None:
    assert shown(name) == printed
