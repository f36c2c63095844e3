"""Examples that readers copy: those of docstrings and of the README run as written."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import pyrnn.nn
from pyrnn.corpora import shakespeare

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pyrnn.__path__, "pyrnn.")
    if module.name not in ("pyrnn._cpu", "pyrnn._cuda")
)
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples failed (printed above)"


def test_public_layers_have_examples() -> None:
    finder = doctest.DocTestFinder(recurse=False)
    for layer in (getattr(pyrnn.nn, name) for name in pyrnn.nn.__all__):
        if isinstance(layer, type):
            assert any(test.examples for test in finder.find(layer)), layer


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_pages(
    page: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "book.txt").write_text(shakespeare()[:25_000])  # the file that pages speak of
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    assert blocks
    reader: dict[str, object] = {}  # who goes on from block to block
    for block in blocks:
        exec(compile(block, page, "exec"), reader)
    if page == "README.md":
        assert "1 swapped, 0 kept" in capsys.readouterr().out
