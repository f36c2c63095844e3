"""Examples that readers copy: those of docstrings and of the README run as written."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path
from types import FunctionType

import pytest

import pyrnn.nn
from pyrnn.corpora import shakespeare

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pyrnn.__path__, "pyrnn.")
    if module.name not in ("pyrnn._cpu", "pyrnn._cuda")
)
#: All but `pyrnn.train`, whose names are parts of a run that mean little one by one.
PUBLIC = (
    *("pyrnn", "pyrnn.corpora", "pyrnn.data", "pyrnn.diagnostics", "pyrnn.embeddings"),
    *("pyrnn.losses", "pyrnn.machine"),
    *(
        "pyrnn.metrics",
        "pyrnn.models",
        "pyrnn.nn",
        "pyrnn.onnx",
        "pyrnn.ops",
        "pyrnn.plot",
        "pyrnn.reference",
    ),
    *("pyrnn.search", "pyrnn.swap", "pyrnn.tasks", "pyrnn.text"),
)
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])


def has_examples(name: str) -> bool:
    """Whether the file of a module shows any."""
    spec = importlib.util.find_spec(name)
    return spec is not None and ">>> " in Path(spec.origin or "").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in MODULES if has_examples(name)])
def test_docstring_examples(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert results.attempted > 0
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples failed (printed above)"


def test_every_module_can_be_imported() -> None:
    for name in MODULES:
        importlib.import_module(name)


@pytest.mark.parametrize("package", PUBLIC)
def test_what_is_public_has_examples(package: str) -> None:
    module, finder = importlib.import_module(package), doctest.DocTestFinder()
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    without = [
        name
        for name in names
        if isinstance(found := getattr(module, name), FunctionType | type)
        and found.__module__.startswith(package)
        and not any(test.examples for test in finder.find(found))
    ]
    assert not without


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
