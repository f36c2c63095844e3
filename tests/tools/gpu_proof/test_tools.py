"""Programs around the proof: pytest's plugin, the sanitizer, the dump."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyrnn import _native
from pyrnn.bench import record
from tools.gpu_proof import flashrnn, rooflines, sanitizer
from tools.gpu_proof.stages import ABSENT

# ---- pytest --------------------------------------------------------------------------------------

TESTS = """
import pytest
@pytest.fixture
def emulated(): raise AssertionError("nothing is compiled for the host")
@pytest.fixture
def device(request): return "cuda" or request.getfixturevalue("emulated")
@pytest.fixture
def broken(): raise ValueError("broken fixture")
@pytest.fixture
def lost():
    yield
    pytest.exit("the device is lost", 1)
def test_passes(device): assert device == "cuda"
def test_emulates(emulated): pass
def test_fails(): assert 1 == 2, "unequal"
def test_skips(): pytest.skip("no reason")
def test_never_starts(broken): pass
def test_loses(lost): pass
def test_comes_too_late(): pass
"""


def test_each_test_on_the_device_becomes_a_row(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    rows = tmp_path / "rows"
    options = ("--rows", rows, "--seconds", "9", "--record", tmp_path / "x.json", "-c", "/dev/null")
    plugin = ("-p", "tools.gpu_proof.pytest_rows", "-p", "no:cacheprovider", "--rootdir", tmp_path)
    command = [sys.executable, "-m", "pytest", *plugin, *options, tmp_path / "test_it.py"]
    result = subprocess.run(command, cwd=record.ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1, result.stdout + result.stderr
    found = [(row["test"].partition("::")[2], row["outcome"], row["why"]) for row in record.read(rows)]
    assert found == [
        ("test_passes", "passed", ""),
        ("test_fails", "failed", "AssertionError: unequal"),
        ("test_skips", "skipped", "Skipped: no reason"),
        ("test_never_starts", "failed", "ValueError: broken fixture"),
        ("test_loses", "passed", ""),
        ("test_loses", "failed", "the run ended here: the device is lost"),
    ]


# ---- sanitizer -----------------------------------------------------------------------------------

FAKE = """#!{python}
import sys
tool, sees = sys.argv[sys.argv.index("--tool") + 1], {sees!r}
if sees == "nobody":
    sys.exit("Device not supported")
if "--kernel-name" in sys.argv and sees == "no filter":
    sys.exit("unrecognised option '--kernel-name'")
injected = "injected_fault.py" in sys.argv[-2]
assert injected or sys.argv[-1] == "tools.gpu_proof.small"
if not injected:
    print("18 training steps")
errors = 3 if tool == sees else 0
if injected and not (sees == "blind" and "--kernel-name" in sys.argv) and sees != "nothing":
    print("========= Invalid __global__ atomic of size 4 bytes")
    errors = 1
print("========= ERROR SUMMARY:", errors, "errors")
sys.exit(86 if errors else 0)
"""
Sanitize = Callable[[str], tuple[int, dict[str, record.Row]]]


@pytest.fixture
def sanitize(
    run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Sanitize:
    """The stage with a program in compute-sanitizer's place: exit status, and rows by tool."""

    def run(sees: str) -> tuple[int, dict[str, record.Row]]:
        program = tmp_path / "compute-sanitizer"
        program.write_text(FAKE.format(python=sys.executable, sees=sees))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setattr(_native, "why_no_cuda", lambda: "")
        monkeypatch.setattr(_native, "cuda", SimpleNamespace(__file__="_cuda.so"))
        code = run_main("sanitizer", tmp_path)
        return code, {row["tool"]: row for row in record.read(tmp_path / "rows.jsonl")}

    return run


def test_every_tool_is_judged_by_itself(sanitize: Sanitize) -> None:
    code, rows = sanitize("racecheck")
    assert code == 1
    assert {tool: row["outcome"] for tool, row in rows.items()} == {
        "injected fault": "found",
        "memcheck": "clean",
        "racecheck": "errors found",
        "synccheck": "clean",
    }
    assert rows["injected fault"]["summary"] == "among our kernels alone"
    assert rows["memcheck"]["summary"] == "ERROR SUMMARY: 0 errors"
    assert "18 training steps" in rows["racecheck"]["output"]


@pytest.mark.parametrize("sees", ["no filter", "blind"])
def test_a_filter_that_does_not_work_is_left_out(sees: str, sanitize: Sanitize) -> None:
    code, rows = sanitize(sees)
    assert (code, rows["memcheck"]["outcome"]) == (0, "clean")
    assert rows["injected fault"]["summary"] == "without the filter, which is blind"


def test_a_sanitizer_that_sees_nothing_proves_nothing(sanitize: Sanitize) -> None:
    code, rows = sanitize("nothing")
    assert (code, rows["injected fault"]["outcome"]) == (1, "not found")


def test_a_machine_that_refuses_it_lacks_it(sanitize: Sanitize) -> None:
    code, rows = sanitize("nobody")
    assert (code, [*rows]) == (ABSENT, ["injected fault"])
    assert rows["injected fault"]["outcome"] == "absent"


def test_its_absence_is_said(
    run_main: Callable[[str, Path], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sanitizer, "sanitizer", lambda: None)
    assert run_main("sanitizer", tmp_path) == ABSENT
    assert "not installed here: nothing was checked" in capsys.readouterr().out
    assert record.read(tmp_path / "rows.jsonl") == [{"tool": "compute-sanitizer", "outcome": "absent"}]


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (0, "9 training steps\n===== ERROR SUMMARY: 0 errors", "clean"),
        (0, "9 training steps", "failed"),  # the program ran, but nobody watched
        (0, "===== ERROR SUMMARY: 0 errors", "failed"),  # somebody watched, but nothing ran
        (1, "Device not supported", "absent"),
        (86, "===== ERROR SUMMARY: 1 error", "errors found"),
        (124, "", "timed out"),
    ],
)
def test_only_a_watched_run_without_errors_is_clean(code: int, output: str, expected: str) -> None:
    assert sanitizer.outcome(code, output) == expected


# ---- dump, rooflines, peers -----------------------------------------------------------------------


def test_the_dump_stands_beside_the_record(
    run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"device": "NVIDIA H200", "capability": "9.0"}
    (tmp_path / "x.json").write_text(json.dumps({"environment": environment}))
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "")
    monkeypatch.setattr(_native, "cuda", SimpleNamespace(ptx_dump=lambda _: {"mma": (True, [1.0, 2.5])}))
    assert run_main("wrappers", tmp_path) == 0
    dumped = json.loads((tmp_path / "ptx-nvidia-h200.json").read_text())
    assert (dumped["capability"], dumped["results"]) == ("9.0", {"mma": [True, [1.0, 2.5]]})


def test_barriers_are_measured_up_to_the_whole_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "")
    monkeypatch.setattr(rooflines, "barrier_seconds", lambda blocks: blocks * 1e-8)
    rows = [*rooflines.barriers(132)]
    assert [row["blocks"] for row in rows] == [8, 16, 32, 64, 66, 132]
    assert rows[-1]["seconds"] == pytest.approx(1.32e-6)
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "there is no CUDA device")
    assert [*rooflines.barriers(132)] == [{"what": "no barrier", "why": "there is no CUDA device"}]


def test_a_peer_that_is_not_installed_is_named() -> None:
    if importlib.util.find_spec("flashrnn") is not None:
        pytest.skip("flashrnn is installed here")
    assert [*flashrnn.rows(0.0)] == [{"peer": "flashrnn", "why": "not installed"}]
