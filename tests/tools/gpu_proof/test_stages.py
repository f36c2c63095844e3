"""The stages: who gets how much time, and none that takes another down."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pyrnn.bench import record
from tools.gpu_proof import __main__ as command_line
from tools.gpu_proof import runner
from tools.gpu_proof.stages import NAMES, STAGES, TOTAL, Stage, allowance, chosen, options, orders, python

ROW = "import json, pathlib, sys; rows = pathlib.Path(sys.argv[2]).open('a'); "
WRITES = ROW + "print(json.dumps({'a': 1}), file=rows, flush=True); print('wrote', flush=True); "


def fake(name: str, code: str, *, least: float = 0, most: float = 30) -> Stage:
    return Stage(name, "a test", least, most, (sys.executable, "-c", code))


@pytest.fixture
def kept(tmp_path: Path) -> runner.Record:
    return runner.Record(
        tmp_path / "new" / "one.json", {"device": "D"}, lambda content: f"{[*content['stages']]}"
    )


def on_disk(kept: runner.Record) -> record.Row:
    return json.loads(kept.path.read_text())["stages"]


# ---- time ----------------------------------------------------------------------------------------


def test_what_is_kept_back_fits_into_the_whole() -> None:
    build, *others = STAGES
    assert build.most + sum(stage.least for stage in others) <= TOTAL


def test_a_stage_cannot_take_what_later_ones_are_sure_of() -> None:
    first, second, last = (fake("any", "", least=least, most=100) for least in (0, 20, 50))
    assert allowance(first, [second, last], left=300) == 100
    assert allowance(first, [second, last], left=90) == 20
    assert allowance(first, [second, last], left=30) == 0
    assert allowance(last, [], left=60) == 60


def test_stages_run_in_their_order_however_they_are_named() -> None:
    assert [stage.name for stage in chosen(["bench", "rooflines"])] == ["rooflines", "bench"]
    assert [stage.name for stage in chosen([])] == list(NAMES)


LOOK = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text(repr((
    __name__, sys.argv, [f.rebuild_flag for f in sys.meta_path if hasattr(f, "rebuild_flag")]
)))
"""


def test_a_stage_does_not_look_for_edited_sources(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    command = python("look", str(tmp_path / "seen"), "--option")
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    name, arguments, flags = ast.literal_eval((tmp_path / "seen").read_text())
    assert (name, arguments[1:]) == ("__main__", [str(tmp_path / "seen"), "--option"])
    assert True not in flags


# ---- isolation -----------------------------------------------------------------------------------


def test_one_that_fails_costs_the_others_nothing(kept: runner.Record) -> None:
    stages = [fake("broken", WRITES + "raise SystemExit('no such device')"), fake("sound", WRITES)]
    assert not runner.run_stages(stages, kept, deadline=time.monotonic() + 60)
    found = on_disk(kept)
    assert found["broken"]["status"] == "failed"
    assert found["broken"]["rows"] == [{"a": 1}]
    assert found["broken"]["output"] == ["wrote", "no such device"]
    assert found["sound"]["status"] == "passed"
    assert "output" not in found["sound"]


def test_one_that_hangs_is_ended_with_its_children_and_keeps_its_rows(kept: runner.Record) -> None:
    child = "import subprocess; subprocess.run(['sleep', '60'])"
    stages = [fake("hangs", WRITES + child, most=4), fake("sound", WRITES)]
    started = time.monotonic()
    assert not runner.run_stages(stages, kept, deadline=started + 60)
    assert time.monotonic() - started < 30
    assert on_disk(kept)["hangs"]["status"] == "timed out"
    assert on_disk(kept)["hangs"]["rows"] == [{"a": 1}]
    assert on_disk(kept)["sound"]["status"] == "passed"


def test_one_that_a_signal_ends_has_failed(kept: runner.Record) -> None:
    stages = [fake("dies", WRITES + "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")]
    assert not runner.run_stages(stages, kept, deadline=time.monotonic() + 60)
    assert on_disk(kept)["dies"]["status"] == "failed"


def test_absence_of_a_tool_is_said_and_is_no_failure(kept: runner.Record) -> None:
    assert runner.run_stages([fake("lacks", "raise SystemExit(3)")], kept, deadline=time.monotonic() + 60)
    assert on_disk(kept)["lacks"]["status"] == "absent"


def test_one_without_time_is_not_begun(kept: runner.Record) -> None:
    assert not runner.run_stages([fake("late", WRITES)], kept, deadline=time.monotonic() + 1)
    assert on_disk(kept)["late"]["status"] == "not reached"
    assert on_disk(kept)["late"]["rows"] == []


def test_rows_are_on_disk_while_the_stage_still_runs(kept: runner.Record) -> None:
    look = f"import time; time.sleep(1); print(pathlib.Path({str(kept.path)!r}).read_text())"
    runner.run_stages([fake("long", WRITES + look + "; sys.exit(1)")], kept, deadline=time.monotonic() + 60)
    seen = json.loads("\n".join(on_disk(kept)["long"]["output"][1:]))["stages"]["long"]
    assert (seen["status"], seen["rows"]) == ("running", [{"a": 1}])


def test_half_a_row_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text('{"a": 1}\n{"b": ')
    assert runner.read_rows(path) == [{"a": 1}]
    assert runner.read_rows(tmp_path / "none") == []


def test_a_later_run_keeps_the_stages_that_it_does_not_repeat(kept: runner.Record) -> None:
    for name in ("one", "two"):
        kept.put(name, {"status": "failed", "rows": []})
    again = runner.Record(kept.path, {"device": "D"}, lambda content: f"{[*content['stages']]}")
    again.put("two", {"status": "passed", "rows": []})
    assert {name: stage["status"] for name, stage in on_disk(again).items()} == {
        "one": "failed",
        "two": "passed",
    }
    assert again.path.with_suffix(".md").read_text() == "['one', 'two']"
    assert sorted(path.name for path in kept.path.parent.iterdir()) == ["one.json", "one.md"]


# ---- command line --------------------------------------------------------------------------------


def test_without_a_gpu_it_says_so_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command_line.main(["--out", str(tmp_path / "records")]) == 2
    message = capsys.readouterr().err
    assert "no GPU here" in message
    assert "docs/gpu.md" in message
    assert not (tmp_path / "records").exists()


def test_without_kernels_it_stops_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("pyrnn._native.why_no_cuda", lambda: "this build of pyrnn has none")
    assert command_line.main(["--out", str(tmp_path / "records")]) == 2
    assert "this build of pyrnn has none" in capsys.readouterr().err
    assert not (tmp_path / "records").exists()


def test_a_whole_run_leaves_record_and_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    properties = SimpleNamespace(
        name="NVIDIA H200",
        major=9,
        minor=0,
        multi_processor_count=132,
        total_memory=150 * 10**9,
        L2_cache_size=60 * 2**20,
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)  # a CUDA build asks the devices
    monkeypatch.setattr(
        command_line, "chosen", lambda _: [STAGES[0], fake("sanitizer", "raise SystemExit(3)")]
    )
    monkeypatch.setattr("pyrnn._native.why_no_cuda", lambda: "")
    copies = tmp_path / "copies"
    told = ["--out", str(tmp_path), "--commit", "abc", "--build-seconds", "9", "--copy-to", str(copies)]
    assert command_line.main(told) == 0
    (path,) = tmp_path.glob("*-nvidia-h200-abc.json")
    content = json.loads(path.read_text())
    assert {name: stage["status"] for name, stage in content["stages"].items()} == {
        "build": "passed",
        "sanitizer": "absent",
    }
    assert content["environment"]["capability"] == "9.0"
    assert "| sanitizer | absent |" in path.with_suffix(".md").read_text()
    assert str(path.with_suffix(".md")) in capsys.readouterr().out
    for name in (path.name, path.with_suffix(".md").name):
        assert (copies / name).read_bytes() == (tmp_path / name).read_bytes()


def test_unknown_stage_is_an_error_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(["benhc"])
    assert "no stage is called 'benhc': choose among build, sizes" in capsys.readouterr().err


def test_a_record_is_named_for_day_device_and_commit() -> None:
    env = {"date": "2030-01-02T03:04:05+00:00", "device": "NVIDIA H200 (SXM)", "commit": "abc-dirty"}
    assert command_line.record_name(env) == "2030-01-02-nvidia-h200-sxm-abc-dirty"


def test_a_stage_understands_its_orders() -> None:
    told = orders(["--rows", "r", "--seconds", "12", "--record", "folder/x.json"])
    assert (told.rows, told.seconds, told.record) == (Path("r"), 12.0, Path("folder/x.json"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("layers", "no CUDA kernels"),
        ("attention", "no CUDA kernels"),
        ("wrappers", "nothing to dump"),
        ("small", "no CUDA kernels"),
        ("sanitizer", "nothing to watch"),
    ],
)
def test_a_stage_without_kernels_fails_in_words(
    name: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run_main: Callable[[str, Path], int],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("pyrnn._native.why_no_cuda", lambda: "this build of pyrnn has none")
    monkeypatch.setattr("tools.gpu_proof.sanitizer.sanitizer", lambda: "compute-sanitizer")
    assert run_main(name, tmp_path) == 1
    assert says in capsys.readouterr().out
    assert not [*tmp_path.iterdir()]
