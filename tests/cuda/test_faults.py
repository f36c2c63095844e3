"""The emulator sees the faults that kernels of this kind have: each is put into a copy of the sources."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.cuda import injected_fault
from tests.cuda.faults import SUBJECTS, Fault

ROOT = Path(__file__).resolve().parents[2]
#: Imports torch once and forks from there.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([injected_fault.__name__])


def commands(build: Path, target: str) -> str:
    """The last command that makes `target`."""
    told = subprocess.run(
        ["ninja", "-C", build, "-t", "commands", target], capture_output=True, text=True, check=True
    )
    return told.stdout.splitlines()[-1]


def built(
    emulated: ModuleType,
    subject: str,
    folder: Path,
    *,
    sources: Path = ROOT / "csrc",
    flags: str = "-O1",
) -> Path:
    """The module with kernels of the subject compiled anew, of other sources or with other flags."""
    module = Path(emulated.__file__ or "")
    build, kernels, result = module.parent, folder / "kernels.o", folder / module.name
    operator, source, dtype = SUBJECTS[subject][:3]
    name = f"pyrnn_cuda_{operator}_{source}_{dtype}"
    target = f"csrc/{operator}/cuda/CMakeFiles/{name}.dir/{source}.cu.o"
    compile_it = commands(build, target).replace(str(ROOT / "csrc"), str(sources))
    link_it = commands(build, module.name).replace(f"-o {module.name}", f"-o {result} {kernels}")
    for command in (compile_it.replace(f"-o {target}", f"{flags} -o {kernels}"), link_it):
        done = subprocess.run(command, shell=True, cwd=build, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    return result


def changed(emulated: ModuleType, subject: str, folder: Path, *faults: Fault) -> Path:
    """The module with few kernels of the subject, and with faults in them."""
    shutil.copytree(ROOT / "csrc", folder / "csrc")
    operator, source, *_ = SUBJECTS[subject]
    for name, old, new, _ in (Fault(f"{operator}/cuda/{source}.cu", *SUBJECTS[subject].few), *faults):
        file = folder / "csrc" / name
        text = file.read_text()
        assert text.count(old) == 1, f"{name} no longer has one {old!r}"
        file.write_text(text.replace(old, new))
    return built(emulated, subject, folder, sources=folder / "csrc")


def run(subject: str, module: Path, folder: Path, *, outside: bool = False) -> tuple[int | None, str]:
    """Exit status, and what was said."""
    said = folder / "said"
    process = PROCESSES.Process(
        target=injected_fault.main, args=(subject, module, said), kwargs={"outside": outside}
    )
    process.start()
    process.join(240)
    process.kill()
    process.join()
    return process.exitcode, said.read_text(errors="replace")


@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        pytest.param(subject, fault, id=f"{subject}-{name}")
        for subject, about in SUBJECTS.items()
        for name, fault in about.faults.items()
    ],
)
def test_a_fault_is_seen(subject: str, fault: Fault, emulated: ModuleType, tmp_path: Path) -> None:
    if fault.race_only and not emulated.detects_races:
        pytest.skip("only a build with the race detector sees this fault: `dev.py emulate race`")
    status, said = run(subject, changed(emulated, subject, tmp_path, fault), tmp_path)
    assert status != 0, said
    assert "ImportError" not in said, said


def test_a_debug_build_stops_at_lengths_outside(emulated: ModuleType, tmp_path: Path) -> None:
    module = built(emulated, "recurrent", tmp_path, flags="-O1 -UNDEBUG")
    assert run("recurrent", module, tmp_path) == (0, "right\n")
    assert "0 <= length && length <= w.T" in run("recurrent", module, tmp_path, outside=True)[1]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_without_a_fault_all_is_right(subject: str, emulated: ModuleType, tmp_path: Path) -> None:
    for module in (Path(emulated.__file__ or ""), changed(emulated, subject, tmp_path)):
        assert run(subject, module, tmp_path) == (0, "right\n")
