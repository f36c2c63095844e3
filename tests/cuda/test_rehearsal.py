"""The commands that `dev.py gpu plan` prints, run as printed, with the emulator in the place of a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pyrnn.bench.record import ROOT
from tools.dev import pack


def test_the_planned_commands_run_and_leave_one_record(emulated: ModuleType, tmp_path: Path) -> None:
    for number, step in enumerate(pack.commands()):
        command = str(step["command"]).replace("build/gpu-record", str(tmp_path / "record"))
        out = tmp_path / f"out{number}"
        environment = {
            **os.environ,
            "OUT": str(out),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        result = subprocess.run(
            ["bash", "-c", f"{command} --rehearse {emulated.__file__}"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        (path,) = (tmp_path / "record").glob("*-emulated-gpu-*.json")
        names = {each.name for each in out.iterdir()}
        assert names == {path.name, path.with_suffix(".md").name, "ptx-emulated-gpu.json"}
        assert (out / path.name).read_bytes() == path.read_bytes()
    stages = json.loads(path.read_text())["stages"]
    assert {name: stage["status"] for name, stage in stages.items()} == {
        "sizes": "passed",
        "rooflines": "absent",
        "tests": "passed",
        "dump": "passed",
        "attention": "passed",
        "bench": "absent",
        "sanitizer": "absent",
    }
    sizes = stages["sizes"]["rows"]
    assert [row["outcome"] for row in sizes] == ["right"] * len(sizes)
    assert (sizes[0]["equal"], sizes[0]["repeats"]) == (20, 20)
    assert any(row["outcome"] == "passed" for row in stages["tests"]["rows"])


def test_a_device_is_never_rehearsed_upon() -> None:
    """Only the option brings the emulator in: a record of a GPU cannot hold an emulated result."""
    steps = [str(step["command"]) for step in pack.commands()]
    assert not [step for step in steps if "--rehearse" in step]


if os.environ.get("PYRNN_EMULATE_MODE", "plain") != "plain":
    pytest.skip("the checking builds are for the kernels", allow_module_level=True)
