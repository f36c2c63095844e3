#!/usr/bin/env python3
"""One command for every chore, needing nothing but Python: `python3 dev.py demo` works on a fresh checkout.

  setup            make .venv, install torch and the tools, build in place; nothing to do when nothing changed
  demo  [ARGS]     setup, then train the small language model and compare its speed with torch.nn
  test  [ARGS]     setup, then pytest ARGS; without ARGS all tests, one process for each core
  bench [NAME ...] setup, then the benchmark pyrnn/bench/NAME.py (default: recurrent) with the other arguments
  lint  [--fix]    ruff, pyright, clang-format and the rules of this house; --fix rewrites what it can
  ctest [--plain]  the C++ tests under AddressSanitizer and UBSan; --plain leaves the sanitizers out
  build [--cuda]   sdist and wheel into dist/; the wheel is installed into a new environment and tried;
                   --cuda: the wheel holds the CUDA module for all architectures of a release
  emulate MODE [ARGS]  the CUDA tests on the host: plain, sanitized or race; ARGS go to pytest
  gpu [STAGE ...]  everything that only a machine with a GPU can prove, within 8 minutes (docs/gpu.md)
  fuzz [ARGS]      random calls of every operator and layer, valid or not (--seconds, --seed, --only);
                   --sanitized: on a build of the native module with AddressSanitizer and UBSan
  spills [ARGS]    compile the CUDA kernels for every architecture; fail on register spills not declared

Environment:
  PYRNN_PYTHON=current   use the running interpreter, which must hold torch and the tools; download nothing
  PYRNN_TORCH=REQ        the torch to install; default: a CPU build when there is no NVIDIA driver
  PYRNN_CUDA=AUTO|ON|OFF whether to build the CUDA module; default AUTO: when a working nvcc is found
  PYRNN_CUDA_ARCHITECTURES=LIST  for which GPUs, for instance 80;90a; default: those of a release
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
TORCH = "2.13.0"
TOOLS = ("scikit-build-core>=0.11", "pybind11>=2.13", "cmake>=3.24", "ninja>=1.5")
GPU_STAGES = ("build", "ceilings", "tests", "sanitizer", "dump", "bench")  # as in pyrnn/bench/gpu/stages.py
MAX_WHEEL = 16 * 2**20  # bytes
BUILD_SECONDS = 240  # of the 480 that `gpu` has for everything
CURRENT = os.environ.get("PYRNN_PYTHON") == "current"
PYTHON = Path(sys.executable) if CURRENT else VENV / "bin" / "python"

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

# Run in another folder and another environment, so nothing but the installed wheel can satisfy it.
WHEEL_TRIAL = """
import pathlib, subprocess, sys, torch, pyrnn, pyrnn.nn
assert pathlib.Path(pyrnn.__file__).is_relative_to(sys.prefix), pyrnn.__file__
ours, torchs = pyrnn.nn.GRU(5, 7), torch.nn.GRU(5, 7)
ours.load_state_dict(torchs.state_dict())
x = torch.randn(3, 2, 5)
torch.testing.assert_close(ours(x)[0], torchs(x)[0])
subprocess.run([pathlib.Path(sys.prefix) / "bin" / "pyrnn", "info"], check=True)
print("wheel: pyrnn", pyrnn.__version__, "works from", pyrnn.__file__)
"""

CUDA_TRIAL = """
from pyrnn import _cuda
assert _cuda.architectures.split() == ["80", "90a", "100"], _cuda.architectures
print("wheel: CUDA for", _cuda.architectures, "and", _cuda.why_unavailable() or "a GPU to run on")
"""


def die(message: str) -> NoReturn:
    sys.exit(f"dev.py: {message}")


def run(*command: str | Path, cwd: Path = ROOT) -> int:
    """Show and run a command; its exit status is the result."""
    print("+", *command, flush=True)
    status = subprocess.run([str(part) for part in command], cwd=cwd).returncode
    if status < 0:
        print(f"dev.py: {command[0]} was ended by signal {-status}", flush=True)
    return status if status >= 0 else 128 - status


def must(*command: str | Path, otherwise: str, cwd: Path = ROOT) -> None:
    if run(*command, cwd=cwd) != 0:
        die(otherwise)


def ask(code: str) -> str | None:
    """What `code` prints in the project's interpreter, run outside the checkout; None when it fails."""
    result = subprocess.run([str(PYTHON), "-c", code], cwd="/", capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None


def tool(name: str) -> str:
    """A program that setup installed, or the machine's own."""
    beside = PYTHON.parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or die(f"{name} is missing: install it, or run without PYRNN_PYTHON=current")


# ---- setup ---------------------------------------------------------------------------------------


def setup() -> None:
    """Bring the interpreter and the editable build up to date; quick when they already are."""
    if sys.version_info < (3, 10):  # noqa: UP036  an older interpreter is told in words
        die(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}")
    if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        die("no C++ compiler found: install g++ or clang++, or name one in CXX")
    stamp = ROOT / "build" / "setup-stamp"
    installed = PYTHON.exists() and ask("import importlib.metadata as m; print(m.version('pyrnn'))")
    if installed and stamp.exists() and stamp.read_text() == fingerprint():
        return
    install_tools()
    cuda, gpus = os.environ.get("PYRNN_CUDA", "AUTO"), os.environ.get("PYRNN_CUDA_ARCHITECTURES")
    # Without build isolation the build tools stay in place: the next import rebuilds an edited C++ file.
    offline = ("--no-deps", "--no-index") if CURRENT else ()
    must(
        *pip("--quiet", "--no-build-isolation", *offline, "--editable", f"{ROOT}[dev]"),
        *("--config-settings", "editable.rebuild=true", "--config-settings", "editable.verbose=false"),
        *("--config-settings", f"cmake.define.PYRNN_CUDA={cuda}"),
        *(("--config-settings", f"cmake.define.PYRNN_CUDA_ARCHITECTURES={gpus}") if gpus else ()),
        *("--config-settings", "cmake.define.PYRNN_PTX_DUMP=ON"),
        otherwise="the build failed, its messages stand above",
    )
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(fingerprint())


def fingerprint() -> str:
    """Changes whenever setup has work to do. The editable build itself follows the C++ and Python sources."""
    names = ("PYRNN_CUDA", "PYRNN_CUDA_ARCHITECTURES", "PYRNN_TORCH")
    told = [str(PYTHON), sys.version, *(os.environ.get(name, "") for name in names)]
    files = [(ROOT / name).read_text() for name in ("pyproject.toml", "CMakeLists.txt", "dev.py")]
    return hashlib.sha256("\0".join(told + files).encode()).hexdigest()


def pip(*arguments: str | Path) -> list[str | Path]:
    return [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", *arguments]


def install_tools() -> None:
    """First torch, so that no other requirement can draw in another build of it; then the build tools."""
    if CURRENT:
        for module in ("torch", "scikit_build_core", "pybind11"):
            if ask(f"import {module}; print('present')") is None:
                die(f"PYRNN_PYTHON=current, but {sys.executable} has no {module}")
        return
    if not PYTHON.exists():
        must(
            sys.executable,
            "-m",
            "venv",
            VENV,
            otherwise="no environment was made: is python3-venv installed?",
        )
    has_torch = ask("import torch; print(torch.__version__)") is not None
    if not has_torch and not any(run(*command) == 0 for command in torch_installs()):
        die("torch could not be installed: name one that your index has, for instance PYRNN_TORCH=torch")
    must(*pip("--quiet", *TOOLS), otherwise="the build tools could not be installed")


def torch_installs() -> list[list[str | Path]]:
    """The ways to install torch, best first. The +cpu pin cannot turn into gigabytes of CUDA packages."""
    if wanted := os.environ.get("PYRNN_TORCH"):
        return [pip(wanted)]
    any_build = pip(f"torch=={TORCH}")
    has_driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    return [any_build] if has_driver else [pip("--retries", "0", f"torch=={TORCH}+cpu"), any_build]


# ---- commands ------------------------------------------------------------------------------------


def demo(arguments: list[str]) -> int:
    setup()
    return run(PYTHON, "-m", "pyrnn.demo", *arguments)


def test(arguments: list[str]) -> int:
    setup()
    # Files side by side, not tests: many share what is costly to prepare.
    whole = ("-n", str(min(os.cpu_count() or 1, 8)), "--dist", "loadfile")
    return run(PYTHON, "-m", "pytest", *(arguments or whole))


def bench(arguments: list[str]) -> int:
    named = bool(arguments) and not arguments[0].startswith("-")
    name, rest = (arguments[0], arguments[1:]) if named else ("recurrent", arguments)
    module = name.replace("-", "_")
    if not (ROOT / "pyrnn" / "bench" / f"{module}.py").exists():
        die(f"there is no benchmark {name!r}: pyrnn/bench/{module}.py does not exist")
    setup()
    return run(PYTHON, "-m", f"pyrnn.bench.{module}", *rest)


def ctest(arguments: list[str]) -> int:
    setup()
    folder = checking_build("test_recurrent", "test_attention", sanitized="--plain" not in arguments)
    return run(tool("ctest"), "--test-dir", folder, "--output-on-failure", "--no-tests=error")


def checking_build(*targets: str, sanitized: bool) -> Path:
    """The folder where `targets` are built, with the kernels that this machine can run and no others."""
    folder = ROOT / "build" / ("sanitized" if sanitized else "ctest-plain")
    must(
        *(tool("cmake"), "-S", ROOT, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"),
        *("-DCMAKE_BUILD_TYPE=Release", "-DPYRNN_CUDA=OFF", "-DPYRNN_TESTS=ON"),
        f"-DPYRNN_SANITIZE={'ON' if sanitized else 'OFF'}",
        f"-DPYRNN_INSTRUCTION_SETS={ask('from pyrnn import _cpu; print(*_cpu.isas(), sep=chr(59))')}",
        f"-DPython_EXECUTABLE={PYTHON}",
        f"-Dpybind11_DIR={ask('import pybind11 as p; print(p.get_cmake_dir())')}",
        otherwise="the build for checks could not be configured",
    )
    must(tool("cmake"), "--build", folder, "--target", *targets, otherwise="the C++ sources do not compile")
    return folder


def build(arguments: list[str]) -> int:
    setup()
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # The wheel is made from the sdist, which proves that the sdist is complete.
    cuda = "ON" if "--cuda" in arguments else "OFF"
    must(
        *(PYTHON, "-m", "build", "--no-isolation", "--outdir", dist),
        *(f"-Ccmake.define.PYRNN_CUDA={cuda}", ROOT),
        otherwise="the packages could not be built",
    )
    (wheel,) = dist.glob("*.whl")
    if wheel.stat().st_size > MAX_WHEEL:
        die(f"{wheel.name} has {wheel.stat().st_size:,} bytes, {MAX_WHEEL:,} are allowed")
    with tempfile.TemporaryDirectory(prefix="pyrnn-wheel-") as folder:
        fresh = Path(folder) / "fresh"
        must(PYTHON, "-m", "venv", fresh, otherwise="no environment could be made")
        (site,) = fresh.glob("lib/python*/site-packages")
        # torch is lent, not copied. Names in a path file stand after the environment's own packages.
        (site / "lent.pth").write_text(
            ask("import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])") or ""
        )
        installer = (fresh / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check")
        must(*installer, "--no-deps", "--no-index", wheel, otherwise="the wheel does not install")
        trial = WHEEL_TRIAL + (CUDA_TRIAL if cuda == "ON" else "")
        return run(fresh / "bin" / "python", "-c", trial, cwd=Path(folder))


def gpu(arguments: list[str]) -> int:
    """Build for this GPU alone, then let pyrnn.bench.gpu run the other stages."""
    seen = ask("import torch; print(torch.cuda.is_available() and torch.cuda.get_device_capability())")
    helps = bool({"-h", "--help"} & {*arguments})
    if seen in (None, "False") and not helps:
        die(
            "gpu: no GPU here: torch "
            + ("sees none" if seen else "is missing")
            + "; docs/gpu.md says what it needs"
        )
    names = [name for name in arguments if name in GPU_STAGES]
    told: list[str] = []
    if not helps and (not names or "build" in names):
        major, minor = re.findall(r"\d+", seen or "")
        architecture = f"{major}{minor}{'a' if major == '9' else ''}-real"
        told = build_for(architecture)
    return run(PYTHON, "-m", "pyrnn.bench.gpu", *arguments, *told)


def build_for(architecture: str) -> list[str]:
    """Set up with the CUDA module, within its time; without it where that fails, so that the rest can run."""
    started, log = time.monotonic(), ROOT / "build" / "gpu-build.log"
    log.parent.mkdir(exist_ok=True)
    limited = ("timeout", "-k", "5", str(BUILD_SECONDS), sys.executable, str(ROOT / "dev.py"), "setup")
    os.environ["PATH"] += f"{os.pathsep}/usr/local/cuda/bin"  # where the toolkit is but PATH does not say so
    wanted = {"PYRNN_CUDA": "ON", "PYRNN_CUDA_ARCHITECTURES": architecture}
    print("+", *limited, "with", wanted, "into", log, flush=True)
    with log.open("w") as file:
        status = subprocess.run(limited, env=os.environ | wanted, stdout=file, stderr=file).returncode
    if status != 0:
        print(
            log.read_text(errors="replace")[-4000:], "dev.py: the CUDA build failed; without it:", flush=True
        )
        os.environ["PYRNN_CUDA"] = "OFF"
        setup()
    seconds = time.monotonic() - started
    return [f"--build-status={status}", f"--build-seconds={seconds:.1f}", f"--build-log={log}"]


def emulate(arguments: list[str]) -> int:
    """The CUDA tests on a build for the host: tests/cuda/conftest.py makes it and reads the mode."""
    if not arguments or arguments[0] not in ("plain", "sanitized", "race"):
        die("emulate: expected plain, sanitized or race")
    setup()
    mode, *rest = arguments
    os.environ["PYRNN_EMULATE_MODE"] = mode
    if mode == "sanitized":
        os.environ |= {"LD_PRELOAD": sanitizer_libraries(), "ASAN_OPTIONS": "detect_leaks=0"}
    return run(PYTHON, "-m", "pytest", *([] if any("tests" in a for a in rest) else ["tests/cuda"]), *rest)


def sanitizer_libraries() -> str:
    """What must be there before Python's first allocation, for LD_PRELOAD."""
    names = ("libasan.so", "libubsan.so", "libstdc++.so")
    asked = [subprocess.run(["g++", f"-print-file-name={n}"], capture_output=True, text=True) for n in names]
    return ":".join(each.stdout.strip() for each in asked)


def fuzz(arguments: list[str]) -> int:
    """tools/fuzz; with --sanitized its workers load another build of the native module."""
    setup()
    if "--sanitized" not in arguments:
        return run(PYTHON, "-m", "tools.fuzz", *arguments)
    (module,) = checking_build("_cpu", sanitized=True).glob("_cpu*.so")
    rest = [argument for argument in arguments if argument != "--sanitized"]
    return run(PYTHON, "-m", "tools.fuzz", "--native", module, "--preload", sanitizer_libraries(), *rest)


def spills(arguments: list[str]) -> int:
    setup()
    return run(PYTHON, ROOT / "csrc" / "spills.py", *arguments)


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
    complaints = list(house_rules())
    print(*complaints, sep="\n" if complaints else "")
    passed = not any(failures) and not complaints
    print("lint: clean" if passed else "lint: see the complaints above", flush=True)
    return 0 if passed else 1


def house_rules() -> Iterator[str]:
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


def main() -> int:
    functions = (demo, test, bench, lint, ctest, build, emulate, gpu, fuzz, spills)
    commands: dict[str, Callable[[list[str]], int]] = {
        "setup": lambda _: setup() or 0,
        **{function.__name__: function for function in functions},
    }
    name, *arguments = sys.argv[1:] or ["help"]
    if name not in commands:
        print(__doc__)
        return 0 if name in ("help", "-h", "--help") else 2
    return commands[name](arguments)


if __name__ == "__main__":
    sys.exit(main())
