"""What the stubs of the compiled modules say that these hold."""

from __future__ import annotations

import ast
from pathlib import Path

import pyrnn


def stub_names(module: str) -> set[str]:
    """The public names of pyrnn/MODULE.pyi."""
    tree = ast.parse((Path(pyrnn.__file__).parent / f"{module}.pyi").read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {ast.unparse(node.target) for node in tree.body if isinstance(node, ast.AnnAssign)}
    return {name for name in names if not name.startswith("_")}
