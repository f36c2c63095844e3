"""Workers that may die, a watchdog over them, and what became of every call."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tools.fuzz.calls import Call
from tools.fuzz.report import Failure, Report

ROOT = Path(__file__).resolve().parents[2]
_STARTING = 300.0  # seconds; with sanitizers on a busy machine


@dataclass(frozen=True)
class Plan:
    """How to run calls."""

    seed: str
    seconds: float = math.inf  # no call is handed out after so many
    workers: int = 2
    together: int = 50  # so many calls in a row go to one worker
    patience: float = 60.0  # seconds for one call
    native: str = ""  # another build of the native module
    preload: str = ""  # libraries that must be there before Python's first allocation
    targets: str = "tools.fuzz.targets"  # the module that draws

    def draw(self, index: int, target: str) -> Call:
        """The call that a worker makes."""
        return importlib.import_module(self.targets).draw(self.seed, index, target)


class Worker:
    """A process, the calls that it was given, and the one that it is at."""

    def __init__(self, plan: Plan) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  as long as the worker lives
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tools.fuzz.worker", plan.seed, plan.targets, plan.native],
            cwd=ROOT,
            env=_surroundings(plan),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.given: list[tuple[int, str]] = []
        self.at: tuple[int, str] | None = None
        self.since = time.monotonic()
        self.ready = False
        self._rest = b""

    def give(self, calls: list[tuple[int, str]]) -> None:
        self.given = calls
        assert self.process.stdin is not None
        lines = "".join(f"{index} {target}\n" for index, target in calls)
        try:
            self.process.stdin.write(lines.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # it has died: that is noticed where its answers are read

    def answers(self) -> Iterator[Any]:
        """Outcomes, [status, symptom, details, odd], of calls that have ended since the last time."""
        assert self.process.stdout is not None
        read = self.process.stdout.read()
        *lines, self._rest = (self._rest + (read or b"")).split(b"\n")
        for line in lines:
            self.since = time.monotonic()
            if line == b"ready":
                self.ready = True
            elif line.startswith(b"["):
                yield json.loads(line)
                self.at = None
            else:
                self.at = next(call for call in self.given if call[0] == int(line))

    def said(self) -> str:
        """The end of what it wrote to stderr."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.errors.close()


def _surroundings(plan: Plan) -> dict[str, str]:
    """The environment of a worker: new memory is full of large numbers, so that leaving it so is seen."""
    options = (
        "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=4096:"
        "max_malloc_fill_size=1000000000:malloc_fill_byte=254"
    )
    chosen = (
        {"ASAN_OPTIONS": options, "LD_PRELOAD": plan.preload} if plan.preload else {"MALLOC_PERTURB_": "1"}
    )
    return os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"} | chosen


def run(plan: Plan, calls: Iterable[tuple[int, str]]) -> Report:
    """Make calls, (number, target), until the time is up or all are done."""
    report, started, left = Report(), time.monotonic(), iter(calls)

    def more() -> list[tuple[int, str]]:
        late = time.monotonic() - started > plan.seconds
        return [] if late else list(itertools.islice(left, plan.together))

    workers: list[Worker] = []
    with selectors.DefaultSelector() as selector:
        try:
            while len(workers) < plan.workers and (given := more()):
                workers.append(_start(plan, selector, given))
            while any(worker.given for worker in workers):
                selector.select(timeout=1.0)
                for worker in tuple(workers):
                    _read(worker, report)
                    if worker.given and (why := _ended(worker, plan)):
                        rest = _note_end(worker, report, why)
                        workers.remove(worker)
                        _end(worker, selector)
                        if given := rest or more():
                            workers.append(_start(plan, selector, given))
                    elif not worker.given and (given := more()):
                        worker.give(given)
        finally:
            for worker in workers:
                _end(worker, selector)
    report.seconds = time.monotonic() - started
    return report


def _start(plan: Plan, selector: selectors.BaseSelector, calls: list[tuple[int, str]]) -> Worker:
    worker = Worker(plan)
    selector.register(worker.process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
    worker.give(calls)
    return worker


def _end(worker: Worker, selector: selectors.BaseSelector) -> None:
    selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
    worker.end()


def _read(worker: Worker, report: Report) -> None:
    for status, symptom, details, odd in worker.answers():
        assert worker.at is not None
        index, target = worker.at
        report.count(target, "odd" if odd else "valid", status)
        if status == "failed":
            report.failures.append(Failure(index, target, symptom, details, worker.given[0][0]))
        worker.given = [call for call in worker.given if call[0] > index]


def _ended(worker: Worker, plan: Plan) -> str:
    """Why a worker has to be replaced, in words; empty where it need not be."""
    status = worker.process.poll()
    if status is not None:
        return f"crash: {signal.Signals(-status).name}" if status < 0 else f"crash: exit status {status}"
    waited = time.monotonic() - worker.since
    if waited > (plan.patience if worker.ready else _STARTING):
        worker.process.send_signal(signal.SIGABRT)  # its faulthandler tells where it is
        time.sleep(0.5)
        return f"hang: more than {plan.patience:g} s"
    return ""


def _note_end(worker: Worker, report: Report, why: str) -> list[tuple[int, str]]:
    """Count the call that ended a worker; the calls that it had still before it."""
    _read(worker, report)
    said = worker.said()
    if worker.at is None:
        raise RuntimeError(f"a worker ended outside of a call ({why}):\n{said[-3000:]}")
    index, target = worker.at
    told = (line for line in said.splitlines() if line.startswith("SUMMARY:") or "runtime error" in line)
    summary = next(told, "").replace(f"{ROOT}/", "").removeprefix("SUMMARY: ")
    report.count(target, "unknown", "failed")
    report.failures.append(
        Failure(index, target, f"{why} {summary}".strip(), said[-6000:], worker.given[0][0])
    )
    return [call for call in worker.given if call[0] > index]
