"""The emulator sees the faults that kernels of this kind have: they are put into a copy of the sources."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.cuda import injected_fault
from tests.cuda.faults import FAULT, SUBJECTS, Fault
from tests.processes import PROCESSES

ROOT = Path(__file__).resolve().parents[2]


def commands(build: Path, target: str) -> str:
    """The last command that makes `target`."""
    told = subprocess.run(
        ["ninja", "-C", build, "-t", "commands", target], capture_output=True, text=True, check=True
    )
    return told.stdout.splitlines()[-1]


def built(emulated: ModuleType, subject: str, folder: Path, *flags: str) -> Path:
    """The module with few kernels of the subject compiled anew, and all of its faults in them."""
    put_in(subject, folder / "csrc")
    module = Path(emulated.__file__ or "")
    build, kernels, result = module.parent, folder / "kernels.o", folder / module.name
    operator, source, dtype = SUBJECTS[subject][:3]
    name = f"pyrnn_cuda_{operator}_{source}_{dtype}"
    target = f"csrc/{operator}/cuda/CMakeFiles/{name}.dir/{source}.cu.o"
    compile_it = commands(build, target).replace(str(ROOT / "csrc"), str(folder / "csrc"))
    link_it = commands(build, module.name).replace(f"-o {module.name}", f"-o {result} {kernels}")
    options = " ".join(("-Wno-dangling-else", "-include", str(folder / "csrc" / "fault.h"), *flags))
    for command in (compile_it.replace(f"-o {target}", f"{options} -o {kernels}"), link_it):
        done = subprocess.run(command, shell=True, cwd=build, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    return result


def put_in(subject: str, sources: Path) -> None:
    """A copy of the sources with the faults of the subject, numbered from 1; `pyrnn_fault` chooses one."""
    shutil.copytree(ROOT / "csrc", sources)
    (sources / "fault.h").write_text(
        '#pragma once\nextern "C" __attribute__((visibility("default"))) int pyrnn_fault;\n'
        "int pyrnn_fault = 0;\n"
    )
    operator, source, _, few, faults = SUBJECTS[subject]
    changes = [Fault(f"{operator}/cuda/{source}.cu", *few)]
    for number, (name, old, new, _) in enumerate(faults.values(), 1):
        changes.append(Fault(name, old, chosen(old, new, f"(pyrnn_fault == {number})")))
    for name, old, new, _ in changes:
        file = sources / name
        text = file.read_text()
        assert text.count(old) == 1, f"{name} no longer has one {old!r}"
        file.write_text(text.replace(old, new))


def chosen(old: str, new: str, condition: str) -> str:
    """`new` where the condition holds and else `old`; lines that both begin or end with stand once."""
    if FAULT in new:
        return new.replace(FAULT, condition)
    before, after, head, tail = old.splitlines(), new.splitlines(), [], []
    while after and before[0] == after[0]:
        head.append(before.pop(0))
        after.pop(0)
    while after and before[-1] == after[-1]:
        tail.insert(0, before.pop())
        after.pop()
    was, becomes = "\n".join(before), "\n".join(after)
    if was.partition("//")[0].rstrip().endswith(";"):
        middle = f"if {condition} {{\n{becomes}\n}} else {{\n{was}\n}}"
    else:
        middle = f"({condition} ? ({becomes}) : ({was}))"
    return "\n".join((*head, middle, *tail)) + ("\n" if old.endswith("\n") else "")


def run(
    subject: str, module: Path, folder: Path, *, fault: int = 0, outside: bool = False
) -> tuple[int | None, str]:
    """Exit status, and what was said."""
    said = folder / "said"
    process = PROCESSES.Process(
        target=injected_fault.main,
        args=(subject, module, said),
        kwargs={"fault": fault, "outside": outside},
    )
    process.start()
    process.join(240)
    process.kill()
    process.join()
    return process.exitcode, said.read_text(errors="replace")


@pytest.fixture(scope="module")
def faulty(emulated: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The module with the faults of a subject; compiled when it is first asked for."""
    return functools.cache(lambda subject: built(emulated, subject, tmp_path_factory.mktemp(subject)))


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        pytest.param(subject, name, id=f"{subject}-{name}")
        for subject, about in SUBJECTS.items()
        for name in about.faults
    ],
)
def test_a_fault_is_seen(
    subject: str, name: str, emulated: ModuleType, faulty: Callable[[str], Path], tmp_path: Path
) -> None:
    faults = SUBJECTS[subject].faults
    if faults[name].race_only and not emulated.detects_races:
        pytest.skip("only a build with the race detector sees this fault: `dev.py emulate race`")
    status, said = run(subject, faulty(subject), tmp_path, fault=[*faults].index(name) + 1)
    assert status != 0, said
    assert "ImportError" not in said, said


def test_a_debug_build_stops_at_lengths_outside(emulated: ModuleType, tmp_path: Path) -> None:
    module = built(emulated, "recurrent", tmp_path, "-UNDEBUG")
    assert run("recurrent", module, tmp_path) == (0, "right\n")
    assert "0 <= length && length <= w.T" in run("recurrent", module, tmp_path, outside=True)[1]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_without_a_fault_all_is_right(
    subject: str, emulated: ModuleType, faulty: Callable[[str], Path], tmp_path: Path
) -> None:
    for module in (Path(emulated.__file__ or ""), faulty(subject)):
        assert run(subject, module, tmp_path) == (0, "right\n")
