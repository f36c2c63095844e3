"""Examples that readers copy: those of docstrings and of the README run as written."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import pyrnn

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(pyrnn.__path__, "pyrnn.") if module.name != "pyrnn._cpu"
)
README_BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples failed (printed above)"


def test_public_layers_have_examples() -> None:
    finder = doctest.DocTestFinder(recurse=False)
    for layer in (pyrnn.RNN, pyrnn.GRU, pyrnn.LSTM, pyrnn.RNNCell, pyrnn.GRUCell, pyrnn.LSTMCell):
        assert any(test.examples for test in finder.find(layer)), layer


def test_readme_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert README_BLOCKS
    for block in README_BLOCKS:
        exec(compile(block, "README.md", "exec"), {})
    assert "1 swapped, 0 kept" in capsys.readouterr().out
