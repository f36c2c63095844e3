"""Linters, and the rules that none of them has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tools.dev.setup import setup
from tools.dev.shell import PYTHON, ROOT, run, tool

NATIVE = {".h", ".cpp", ".cu"}
CODE = {".py", ".pyi", ".h", ".cpp", ".cu", ".cuh"}
TEXT = CODE | {".md", ".toml"}
FOLDERS = ("pyrnn", "csrc", "tests", "tools", "examples", "docs")
MAX_LINES = 400
# Character classes keep this file from matching its own rules.
FORBIDDEN = {
    "an unfinished mark": re.compile(r"\b(T[O]DO|F[I]XME|X[X]X)\b"),
    "a path of one machine": re.compile(r"(?<![\w.])/(home|root|Users|work)/\w"),
    "a package host": re.compile(r"p[y]pi\.org|p[y]thonhosted|n[p]mjs\.|[d]eb\.debian"),
    "a swallowed exception": re.compile(r"except[^\n:]*:\s*(#[^\n]*)?\n?\s*pass\b"),
}


def lint(arguments: list[str]) -> int:
    setup()
    fix = "--fix" in arguments
    native = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in NATIVE)
    failures = [
        run(tool("ruff"), "check", *(["--fix"] if fix else [])),
        run(tool("ruff"), "format", *([] if fix else ["--check", "--diff"])),
        run(tool("pyright"), "--pythonpath", PYTHON),
        run(tool("clang-format"), *(["-i"] if fix else ["--dry-run", "-Werror", "--ferror-limit=3"]), *native)
        if native
        else 0,
    ]
    complaints = list(project_rules())
    print(*complaints, sep="\n" if complaints else "")
    passed = not any(failures) and not complaints
    print("lint: clean" if passed else "lint: see the complaints above", flush=True)
    return 0 if passed else 1


def project_rules() -> Iterator[str]:
    """Rules that no linter has: short files, nothing unfinished, nothing that belongs to one machine."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))] + sorted(
        ROOT.iterdir()
    )
    for path in paths:
        if path.suffix not in TEXT or not path.is_file():
            continue
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        length = text.count("\n")
        if path.suffix in CODE and length > MAX_LINES:
            yield f"{name}: {length} lines, {MAX_LINES} are allowed: split it by concept"
        for what, pattern in FORBIDDEN.items():
            for match in pattern.finditer(text):
                yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match[0]!r}"
