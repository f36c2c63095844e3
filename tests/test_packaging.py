"""What must hold of the package as built: its version, kernel objects, and OpenMP runtime."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import pyrnn
from pyrnn import _native
from pyrnn.train.job import tomllib
from tests.stubs import stub_names
from tools import matrix
from tools.dev.wheel import missing_instruction_sets

ROOT = Path(__file__).resolve().parents[1]

#: Runs forward and backward on several threads, checks against the reference, prints the instruction set.
LAYERS_AGREE = """
import pyrnn, torch
from pyrnn import _native, reference
torch.manual_seed(0)
for name, gates in (("rnn_tanh", 1), ("gru", 3), ("lstm", 4)):
    weights = ((torch.randn(gates * 17, 5) / 4, torch.randn(gates * 17, 17) / 4, None, None, None),)
    x = torch.randn(6, 4, 5, requires_grad=True)
    results = []
    for operator in (pyrnn.ops.recurrent, reference.recurrent):
        y = operator(name, x, None, None, weights).output
        results += [y, *torch.autograd.grad(y.sum(), x)]
    torch.testing.assert_close(results[:2], results[2:], rtol=1e-4, atol=1e-5)
print(_native.isa())
"""


def python(code: str, *, under: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter that finds this checkout."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [*under, sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def printed(result: subprocess.CompletedProcess[str]) -> str:
    """The last line of a run that succeeded."""
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.split("\n")[-2]


# ---- version -------------------------------------------------------------------------------------


def test_one_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d\S*)", changelog, re.M)
    assert released[0] == pyrnn.__version__


def test_installed_version_is_this_version() -> None:
    try:
        installed = importlib.metadata.version("pyrnn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pyrnn is not installed in this interpreter: run `python3 dev.py setup`")
    assert installed == pyrnn.__version__ == _native.cpu.__version__


# ---- what the package says of itself -------------------------------------------------------------


def project() -> dict[str, Any]:
    """The table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names_of(requirements: Iterable[str]) -> set[str]:
    """What each is imported as."""
    names = {re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in requirements}
    return {"sklearn" if name == "scikit_learn" else name for name in names}


def test_every_package_that_is_imported_is_declared() -> None:
    used = set()
    for path in (ROOT / "pyrnn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            used |= {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"pyrnn"}
    needed = names_of(project()["dependencies"])
    extras = project()["optional-dependencies"].items()
    optional = {name for extra, names in extras if extra != "dev" for name in names_of(names)}
    assert used - needed - optional == set()
    assert needed - used == {"tomli"}  # which is imported by its name, on Python 3.10


def test_type_checkers_are_told_that_there_are_types() -> None:
    assert "Typing :: Typed" in project()["classifiers"]
    assert (ROOT / "pyrnn" / "py.typed").read_bytes() == b""


def test_the_classifiers_name_the_pythons_that_are_tested() -> None:
    told = {name.rsplit(" ", 1)[1] for name in project()["classifiers"] if ":: Python :: 3." in name}
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert told >= {release.python for release in matrix.RELEASES} | {here}
    assert project()["requires-python"] == f">={min(told, key=lambda name: int(name.split('.')[1]))}"


# ---- instruction sets ----------------------------------------------------------------------------


@pytest.mark.parametrize("isa", _native.isas())
def test_environment_forces_instruction_set(isa: str) -> None:
    assert printed(python(LAYERS_AGREE, PYRNN_CPU_ISA=isa)) == isa


def test_the_instruction_sets_that_were_asked_for_are_in_the_module() -> None:
    """Also those that this machine cannot run: nothing else would miss them."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("other processors than x86-64 have the baseline alone")
    missing = missing_instruction_sets(Path(_native.cpu.__file__ or "").read_bytes())
    if os.environ.get("PYRNN_INSTRUCTION_SETS") == "all":
        assert not missing
    else:
        assert not missing & {*_native.isas()}
        known = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        assert len(_native.isas()) > 1 or not re.search(r"^flags.*\bavx2\b", known, re.M), (
            "the best is missing"
        )


def test_unknown_instruction_set_is_an_error_in_words() -> None:
    result = python("import pyrnn; from pyrnn import _native; _native.isa()", PYRNN_CPU_ISA="mmx")
    assert result.returncode == 1
    assert "cannot run instruction set 'mmx'" in result.stderr
    assert "baseline" in result.stderr


def test_baseline_runs_on_an_old_processor() -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu-x86_64 is not installed: an old processor cannot be emulated")
    # Nehalem is from 2008, without AVX: one wider instruction on the way ends in SIGILL.
    result = python(LAYERS_AGREE, under=(emulator, "-cpu", "Nehalem"), OMP_NUM_THREADS="2")
    assert printed(result) == "baseline"


def test_the_stub_of_the_module_has_its_names() -> None:
    assert stub_names("_cpu") == {name for name in dir(_native.cpu) if not name.startswith("_")}


# ---- objects -------------------------------------------------------------------------------------


def kernel_objects() -> list[Path]:
    """Per-instruction-set objects of the newest build that is installed: its folder is named for a Python."""
    found = []
    for folder in (ROOT / "build").glob("cp*"):
        objects = sorted(folder.glob("CMakeFiles/pyrnn_*_*.dir/**/*.o"))
        # What was compiled of a source that has moved since lies there still.
        found.append([path for path in objects if (ROOT / source_of(path)).exists()])
    return max(filter(None, found), key=lambda objects: objects[0].stat().st_mtime, default=[])


def source_of(path: Path) -> Path:
    """Relative to the checkout."""
    parts = path.with_suffix("").parts
    return Path(*parts[parts.index("CMakeFiles") + 2 :])


def test_kernel_objects_share_no_functions() -> None:
    """A weak symbol is merged across objects, and a baseline processor may then be given AVX-512 code."""
    objects, nm = kernel_objects(), shutil.which("nm")
    if not objects or nm is None:
        pytest.skip("no nm, or no build folder with kernel objects: pyrnn was not built in this checkout")
    listing = subprocess.run(
        [nm, "--defined-only", "--print-file-name", *objects],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    symbols = re.findall(r"^(\S+):\S+ (\w) (\S+)$", listing, re.M)
    exporting = {Path(path) for path, kind, _ in symbols if kind in "TDRB"}
    assert exporting == set(objects), "an object exports nothing"
    assert not [symbol for symbol in symbols if symbol[1] in "WwVvu"]
    public = [name for _, kind, name in symbols if kind.isupper()]
    assert len(public) == len(set(public)), "two objects define one name"


def test_peak_is_measured_with_multiply_adds() -> None:
    """A compiler that sees through the loop times additions, or nothing, and every share of peak is wrong."""
    objects = [path for path in kernel_objects() if "recurrent_avx" in path.as_posix()]
    objdump = shutil.which("objdump")
    if not objects or objdump is None:
        pytest.skip("no objdump, or no build folder with x86 kernel objects")
    for path in objects:
        listing = subprocess.run(
            [objdump, "-d", path], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        burst = re.search(r"<\S*fma_burst\S*>:\n(.*?)\n\n", listing, re.S)
        assert burst is not None, path
        assert len(re.findall(r"vfmadd|vdpbf16ps", burst[1])) >= 12, path


def test_one_openmp_runtime_is_loaded() -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system has no /proc/self/maps to read loaded libraries from")
    code = LAYERS_AGREE + "print(sorted({line.split()[-1] for line in open('/proc/self/maps')}))"
    runtimes = re.findall(r"[^'/]*(?:libgomp|libomp|libiomp)[^'/]*", printed(python(code)))
    assert len(runtimes) == 1, runtimes
