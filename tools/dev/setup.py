"""The environment .venv and the editable build."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from tools.dev.shell import CURRENT, PYTHON, ROOT, VENV, check_call, fail, query, run

TORCH = "2.13.0"
TOOLS = ("scikit-build-core>=0.11", "pybind11>=2.13", "cmake>=3.24", "ninja>=1.5")


def setup() -> None:
    """Bring the interpreter and the editable build up to date; quick when they already are."""
    if sys.version_info < (3, 10):  # noqa: UP036  an older interpreter is told in words
        fail(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}")
    if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        fail("no C++ compiler found: install g++ or clang++, or name one in CXX")
    stamp = ROOT / "build" / "setup-stamp"
    installed = query("import importlib.metadata as m; print(m.version('pyrnn'))")
    if installed and stamp.exists() and stamp.read_text() == fingerprint():
        return
    install_tools()
    cuda, gpus = os.environ.get("PYRNN_CUDA", "AUTO"), os.environ.get("PYRNN_CUDA_ARCHITECTURES")
    instruction_sets = os.environ.get("PYRNN_INSTRUCTION_SETS", "native")
    # Without build isolation the build tools stay in place: the next import rebuilds an edited C++ file.
    offline = ("--no-deps", "--no-index") if CURRENT else ()
    check_call(
        *pip("--quiet", "--no-build-isolation", *offline, "--editable", f"{ROOT}[dev]"),
        *("--config-settings", "editable.rebuild=true", "--config-settings", "editable.verbose=false"),
        *("--config-settings", f"cmake.define.PYRNN_CUDA={cuda}"),
        *("--config-settings", f"cmake.define.PYRNN_INSTRUCTION_SETS={instruction_sets}"),
        *(("--config-settings", f"cmake.define.PYRNN_CUDA_ARCHITECTURES={gpus}") if gpus else ()),
        *("--config-settings", "cmake.define.PYRNN_PTX_DUMP=ON"),
        otherwise="the build failed, its messages stand above",
    )
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(fingerprint())


def fingerprint() -> str:
    """Changes whenever setup has work to do. The editable build itself follows edited C++ and Python sources.

    It does not follow Python files that move: it notes at installation where each module is.
    """
    names = ("PYRNN_CUDA", "PYRNN_CUDA_ARCHITECTURES", "PYRNN_INSTRUCTION_SETS", "PYRNN_TORCH")
    told = [str(PYTHON), sys.version, *(os.environ.get(name, "") for name in names)]
    files = [(ROOT / name).read_text() for name in ("pyproject.toml", "CMakeLists.txt", "tools/dev/setup.py")]
    modules = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "pyrnn").rglob("*.py"))
    return hashlib.sha256("\0".join(told + files + modules).encode()).hexdigest()


def pip(*arguments: str | Path) -> list[str | Path]:
    return [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", *arguments]


def install_tools() -> None:
    """First torch, so that no other requirement can draw in another build of it; then the build tools."""
    if CURRENT:
        for module in ("torch", "scikit_build_core", "pybind11"):
            if query(f"import {module}; print('present')") is None:
                fail(f"PYRNN_PYTHON=current, but {sys.executable} has no {module}")
        return
    if not PYTHON.exists():
        check_call(
            sys.executable,
            "-m",
            "venv",
            VENV,
            otherwise="no environment was made: is python3-venv installed?",
        )
    has_torch = query("import torch; print(torch.__version__)") is not None
    if not has_torch and not any(run(*command) == 0 for command in torch_installs()):
        fail("torch could not be installed: name one that your index has, for instance PYRNN_TORCH=torch")
    check_call(*pip("--quiet", *TOOLS), otherwise="the build tools could not be installed")


def torch_installs() -> list[list[str | Path]]:
    """The ways to install torch, best first. The +cpu pin cannot turn into gigabytes of CUDA packages."""
    if wanted := os.environ.get("PYRNN_TORCH"):
        return [pip(wanted)]
    any_build = pip(f"torch=={TORCH}")
    has_driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    return [any_build] if has_driver else [pip("--retries", "0", f"torch=={TORCH}+cpu"), any_build]
