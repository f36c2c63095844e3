"""The shape of the package: which way imports run, what is private, how far a call travels."""

from __future__ import annotations

import ast
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import pyrnn
import pyrnn.nn

PACKAGE = Path(pyrnn.__file__).parent

#: Packages and modules of pyrnn; each imports those above it alone.
ORDER = (
    ("_cpu", "_cuda", "_version", "_words", "_files", "_configuration", "_lazy"),
    ("_tensors", "machine", "reference"),
    ("_native", "_dispatch", "_tracers"),
    ("_native_args",),
    ("_checks",),
    ("ops",),
    ("nn",),
    ("swap", "onnx", "text", "losses", "optim"),
    ("data", "metrics", "corpora"),
    ("models",),
    ("search",),
    ("train",),
    ("embeddings",),
    ("tasks",),
    ("diagnostics",),
    ("plot",),
    ("bench",),
    ("cli",),
    ("demo",),
    ("__main__",),
)
RANKS = {name: rank for rank, names in enumerate(ORDER) for name in names}


def imports() -> Iterator[tuple[Path, str]]:
    """Every name of pyrnn that a file of it imports when it is loaded or later, but for types alone."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = []
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyrnn":
                yield from ((path, f"{node.module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names if alias.name.split(".")[0] == "pyrnn")
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pyrnn":
                yield path, f"pyrnn.{node.attr}"  # packages are imported when they are first used


def test_nothing_private_is_imported_across_packages() -> None:
    wrong = []
    for path, name in imports():
        here, parts = ("pyrnn", *path.relative_to(PACKAGE).parts[:-1]), name.split(".")
        for n, part in enumerate(parts):
            private = part.startswith("_") and not part.startswith("__")
            if private and here[:n] != tuple(parts[:n]):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_no_json_holds_a_number_that_is_not_finite() -> None:
    writers = {"_files.py": "to_json, which every other file calls", "checkpoint.py": "it refuses them"}
    wrong = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "json.dump" in line and not (path.name in writers and "allow_nan=False" in line)
    ]
    assert not wrong


def test_imports_run_one_way() -> None:
    wrong = []
    for path, name in imports():
        here, used = path.relative_to(PACKAGE).with_suffix("").parts[0], name.split(".")[1:2]
        if here == "__init__" or not used or used[0] not in RANKS:  # a name that pyrnn itself exports
            continue
        if here != used[0] and RANKS[here] <= RANKS[used[0]]:
            wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_every_module_has_its_place_in_the_order() -> None:
    found = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/*.py")
    }
    assert found - {"__init__"} <= RANKS.keys()


def test_folders_of_tests_are_named_for_packages_or_what_no_package_is_alone() -> None:
    root = Path(__file__).resolve().parents[1]
    found = {path.relative_to(root / "tests").parent for path in (root / "tests").rglob("test_*.py")}
    shared = {"attention", "recurrent", "cuda", "emulator", "integrations", "projects"}
    named = {path for path in found if (PACKAGE / path).is_dir() or (root / path).is_dir()}
    assert {path.as_posix() for path in found - named} == shared


@pytest.mark.parametrize(
    "path", [path for path in PACKAGE.glob("**/__init__.py") if "lazy_names(" in path.read_text()], ids=str
)
def test_what_a_lazy_package_offers_is_what_type_checkers_are_told(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = {
        alias.name: f"{node.module}.{alias.name}"
        for guard in tree.body
        if isinstance(guard, ast.If)
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    package = importlib.import_module(".".join(path.relative_to(PACKAGE.parent).parts[:-1]))
    assert set(told) == set(dir(package))
    for name, home in told.items():
        module, _, attribute = home.rpartition(".")
        expected = getattr(importlib.import_module(module), attribute, None)
        assert getattr(package, name) is (expected or importlib.import_module(home))


# ---- the path of a call --------------------------------------------------------------------------


def path_of(function: Callable[[], Any]) -> list[tuple[str, str]]:
    """File and name of each Python function of this package that a call runs, after three like it."""
    for _ in range(3):
        function()
    steps: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE):
            steps.append((file.relative_to(PACKAGE).as_posix(), frame.f_code.co_name))

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return steps


def lstm(*, trains: bool) -> Callable[[], Any]:
    layer, x = pyrnn.LSTM(8, 8).requires_grad_(trains), torch.randn(4, 2, 8)
    return lambda: layer(x)


def attention() -> Callable[[], Any]:
    layer, x = pyrnn.nn.MultiheadAttention(8, 2, batch_first=True).requires_grad_(False), torch.randn(2, 4, 8)
    return lambda: layer(x, x, x, need_weights=False)


@pytest.mark.parametrize(
    ("call", "most_files", "most_changes"),
    [(lstm(trains=False), 10, 20), (lstm(trains=True), 11, 26), (attention(), 11, 20)],
    ids=["lstm-inference", "lstm-training", "attention"],
)
def test_a_call_is_easy_to_follow(call: Callable[[], Any], most_files: int, most_changes: int) -> None:
    """Printed with `-s`; a reader of one function should not have to jump about."""
    steps = path_of(call)
    changes = sum(a[0] != b[0] for a, b in itertools.pairwise(steps))
    files = {file for file, _ in steps}
    print(*(f"{file}: {name}" for file, name in steps), f"{len(files)} files, {changes} changes", sep="\n")
    assert len(files) <= most_files
    assert changes <= most_changes
    assert not [file for file in files if file.startswith("reference/")], "the reference is no part of a call"
