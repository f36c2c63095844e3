"""Runs the stages, each a process with a time limit, and keeps the record whole on disk all the while."""

from __future__ import annotations

import collections
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pyrnn._files import atomic_write, read_json, to_json, write_text
from pyrnn.bench.record import ROOT, Row
from tools.gpu_proof.stages import ABSENT, Stage, allowance

FORMAT = 1

#: Lines of output that the record keeps of a stage that did not pass.
TAIL = 60

#: A stage that has less than this is not begun.
SHORTEST = 3.0

#: Exit statuses of coreutils' `timeout`: ended at the limit; killed because it would not end.
_TIMED_OUT = (124, 137, -9)


def status_of(code: int) -> str:
    """What a stage's exit status means."""
    if code in _TIMED_OUT:
        return "timed out"
    return {0: "passed", ABSENT: "absent"}.get(code, "failed")


class Record:
    """bench/results/gpu/<date>-<device>-<commit>.json, and its page; both are whole at every moment."""

    def __init__(
        self, path: Path, environment: Row, page: Callable[[Row], str], *, copies: Path | None = None
    ) -> None:
        """Stages of an earlier run under the same name stay until they are run again."""
        self.path, self._page, self._copies = path, page, copies
        earlier = read_json(path) if path.exists() else {}
        kept = earlier.get("stages", {}) if earlier.get("format") == FORMAT else {}
        self.content: Row = {"format": FORMAT, "environment": environment, "stages": kept}

    def put(self, name: str, result: Row) -> None:
        """Take what is known of a stage, and write everything."""
        self.content["stages"][name] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, to_json(self.content, indent=1) + "\n")
        write_text(self.path.with_suffix(".md"), self._page(self.content))

    def copy_out(self) -> None:
        """Put what there is into the folder that survives this machine."""
        if self._copies is None:
            return
        self._copies.mkdir(parents=True, exist_ok=True)
        for path in (self.path, self.path.with_suffix(".md"), *self.path.parent.glob("ptx-*.json")):
            with atomic_write(self._copies / path.name) as partial:
                shutil.copyfile(path, partial)


def run_stages(
    stages: Sequence[Stage], record: Record, *, deadline: float, rehearse: Path | None = None
) -> bool:
    """Run all, whatever becomes of each; whether every one passed or had nothing to run with.

    `deadline` is a reading of `time.monotonic`, `rehearse` the module that stands in for a device.
    """
    fine = True
    for number, stage in enumerate(stages):
        seconds = allowance(stage, stages[number + 1 :], deadline - time.monotonic())
        if rehearse is not None and not stage.rehearsed:
            why = "nothing can stand in for a device here"
            record.put(stage.name, {"status": "absent", "seconds": 0, "why": why, "rows": []})
        elif seconds < SHORTEST:
            why = f"{seconds:.0f} s were left for it"
            record.put(stage.name, {"status": "not reached", "seconds": 0, "why": why, "rows": []})
        else:
            run_stage(stage, record, seconds, ("--rehearse", str(rehearse)) if rehearse is not None else ())
        record.copy_out()
        fine = fine and record.content["stages"][stage.name]["status"] in ("passed", "absent")
    return fine


def run_stage(stage: Stage, record: Record, seconds: float, more: Sequence[str] = ()) -> None:
    """Run one, show its output, and put its rows into the record as they come."""
    print(f"\n== {stage.name}: {stage.does} (at most {seconds:.0f} s)", flush=True)
    with tempfile.TemporaryDirectory(prefix="pyrnn-gpu-") as folder:
        rows = Path(folder) / "rows.jsonl"
        told = ("--rows", str(rows), "--seconds", f"{seconds:.0f}", "--record", str(record.path), *more)
        # `timeout` ends the whole process group: compilers and sanitizers have children.
        limited = ("timeout", "-k", "5", f"{seconds:.0f}", *stage.command, *told)
        result: Row = {"status": "running", "seconds": 0, "limit": round(seconds), "rows": []}
        record.put(stage.name, result)
        started, tail = time.monotonic(), collections.deque[str](maxlen=TAIL)
        with subprocess.Popen(
            limited, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    print(line, end="", flush=True)
                    tail.append(line.rstrip())
                    found = read_rows(rows)
                    if len(found) > len(result["rows"]):
                        result["rows"] = found
                        record.put(stage.name, result)
            except BaseException:
                process.terminate()  # Ctrl-C does not reach its group; left alone, it would be waited for
                raise
        result |= {
            "status": status_of(process.returncode),
            "exit": process.returncode,
            "seconds": round(time.monotonic() - started, 1),
            "rows": read_rows(rows),
        }
        if result["status"] != "passed":
            result["output"] = list(tail)
        record.put(stage.name, result)
    print(f"== {stage.name}: {result['status']} after {result['seconds']} s", flush=True)


def read_rows(path: Path) -> list[Row]:
    """The rows that are complete; a stage killed while it wrote leaves part of one."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]
