"""What every chore is made of: the project's interpreter, commands that are shown, errors in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
CURRENT = os.environ.get("PYRNN_PYTHON") == "current"
PYTHON = Path(sys.executable) if CURRENT else VENV / "bin" / "python"


def fail(message: str) -> NoReturn:
    sys.exit(f"dev.py: {message}")


def run(*command: str | Path, cwd: Path = ROOT) -> int:
    """Show and run a command; its exit status is the result."""
    print("+", *command, flush=True)
    status = subprocess.run([str(part) for part in command], cwd=cwd).returncode
    if status < 0:
        print(f"dev.py: {command[0]} was ended by signal {-status}", flush=True)
    return status if status >= 0 else 128 - status


def check_call(*command: str | Path, otherwise: str, cwd: Path = ROOT) -> None:
    if run(*command, cwd=cwd) != 0:
        fail(otherwise)


def query(code: str, *, cwd: Path | str = "/") -> str | None:
    """What `code` prints in the project's interpreter; None when it fails, or there is none yet.

    It runs outside the checkout, where nothing but an installed package can be imported.
    """
    if not PYTHON.exists():
        return None
    result = subprocess.run([str(PYTHON), "-c", code], cwd=cwd, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None


def tool(name: str) -> str:
    """A program that setup installed, or the machine's own."""
    beside = PYTHON.parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or fail(f"{name} is missing: install it, or run without PYRNN_PYTHON=current")


def commit() -> str:
    """The checked-out commit, marked when the tree differs from it; "unknown" where git says none."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"], cwd=ROOT, capture_output=True, text=True
    )
    return asked.stdout.strip() or "unknown"
