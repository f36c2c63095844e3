"""`dev.py gpu` before any GPU: help without an environment, what is built when, and what is said instead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrnn.bench.record import ROOT
from tools.dev import gpu, pack

CAPABILITY = "(9, 0)"


class Machine:
    """A machine with a GPU: what its interpreter answers, and the commands that ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, seen: str | None, why: str | None) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.built: list[dict[str, str]] = []
        self.why = why
        self.status = 0
        monkeypatch.setattr(gpu, "query", lambda code, cwd="/": seen if code == gpu.SEEN else self.why)
        monkeypatch.setattr(gpu, "run", lambda *command: self.ran.append(tuple(map(str, command))) or 0)
        monkeypatch.setattr(gpu.subprocess, "run", self._build)
        monkeypatch.setattr(gpu.os, "environ", {"PATH": ""})

    def _build(self, command: tuple[str, ...], *, stdout: Any, stderr: Any) -> Any:
        self.built.append(dict(gpu.os.environ))
        stdout.write("nvcc: no such architecture\n")
        self.why = "ready" if self.status == 0 else self.why
        return subprocess.CompletedProcess(command, self.status)


@pytest.mark.parametrize("word", [["--help"], ["bench", "-h"]])
def test_help_needs_no_environment(tmp_path: Path, word: list[str]) -> None:
    for name in ("dev.py", "tools/dev", "tools/gpu_proof/stages.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile)(ROOT / name, tmp_path / name)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYRNN_PYTHON"}
        command = [sys.executable, "dev.py", "gpu", *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment
        )

    result = run(*word)
    assert (result.returncode, result.stderr) == (0, "")
    assert "usage: dev.py gpu" in result.stdout
    for stage in gpu.stages.STAGES:
        assert f"{stage.name}: {stage.does.split()[0]}" in " ".join(result.stdout.split())
    result = run()
    assert result.returncode == 1
    assert result.stderr == ("dev.py: gpu: no GPU here: torch is missing; docs/gpu.md says what it needs\n")


def test_without_a_gpu_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, seen="False", why="ready")
    with pytest.raises(SystemExit, match="no GPU here: torch sees none"):
        gpu.gpu([])
    assert not machine.built


def test_what_is_in_the_tree_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, seen=CAPABILITY, why="ready")
    assert gpu.gpu([]) == gpu.gpu(["sizes", "--total", "60"]) == 0
    assert not machine.built
    assert machine.ran[1][2:] == ("tools.gpu_proof", "sizes", "--total", "60", "--build-seconds=0.0")


@pytest.mark.parametrize("words", [[], ["build"], ["build", "tests"]])
def test_without_kernels_they_are_built_for_this_device(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    machine = Machine(monkeypatch, seen=CAPABILITY, why="this build of pyrnn has none")
    assert gpu.gpu(words) == 0
    (environment,) = machine.built
    assert environment["PYRNN_CUDA"] == "ON"
    assert environment["PYRNN_CUDA_ARCHITECTURES"] == "90a-real"
    assert len(machine.ran) == 1


def test_a_failed_build_is_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine = Machine(monkeypatch, seen=CAPABILITY, why="this build of pyrnn has none")
    machine.status = 1
    with pytest.raises(SystemExit, match=r"the CUDA build failed after \d+ s, exit status 1"):
        gpu.gpu(["--copy-to", str(tmp_path / "out")])
    assert "nvcc: no such architecture" in capsys.readouterr().out
    assert (tmp_path / "out" / "gpu-build.log").read_text() == "nvcc: no such architecture\n"
    assert not machine.ran


def test_kernels_that_cannot_run_are_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, seen=CAPABILITY, why="CUDA cannot start: out of memory")
    with pytest.raises(SystemExit, match="no kernels to prove: CUDA cannot start: out of memory"):
        gpu.gpu(["tests"])
    assert not machine.ran


# ---- pack and plan -------------------------------------------------------------------------------


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The note of a packing of the sources as they are; the modules are two files that exist."""
    note = tmp_path / "packed.json"
    files = ["README.md", "LICENSE"]
    content = {"sources": pack.sources(), "python": "python3.12", "architectures": "90a", "files": files}
    note.write_text(json.dumps(content))
    monkeypatch.setattr(pack, "PACKED", note)
    return note


def test_the_plan_names_what_to_carry_and_run(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack.plan([]) == 0
    printed = capsys.readouterr().out
    assert "  README.md\n  LICENSE\n" in printed
    assert pack.plan(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["carry"] == ["README.md", "LICENSE"]
    stages = gpu.stages
    named: list[str] = []
    for step in told["commands"]:
        assert step["command"] in printed
        assert step["timeout_s"] <= 360
        _, _, words = step["command"].partition("dev.py gpu ")
        options = stages.options(words.split())
        assert options.total < step["timeout_s"]
        named += options.stages
        kept_back = sum(stage.least for stage in stages.chosen(options.stages))
        assert kept_back <= options.total
    assert named == [name for name in stages.NAMES if name != "build"]


def test_a_plan_for_other_sources_is_refused(packed: Path) -> None:
    content = json.loads(packed.read_text())
    packed.write_text(json.dumps({**content, "sources": "others"}))
    with pytest.raises(SystemExit, match="changed after packing"):
        pack.plan([])
    packed.write_text(json.dumps({**content, "files": ["pyrnn/_cpu.gone.so"]}))
    with pytest.raises(SystemExit, match="changed after packing"):
        pack.plan([])
    packed.unlink()
    with pytest.raises(SystemExit, match="nothing is packed yet"):
        pack.plan([])


def test_a_python_is_found_by_path_and_refused_in_words() -> None:
    assert Path(pack.interpreter(sys.executable)).exists()
    with pytest.raises(SystemExit, match=r"there is no Python 2\.1 here"):
        pack.interpreter("2.1")
