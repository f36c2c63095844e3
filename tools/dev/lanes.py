"""Lanes of commands side by side: each lane's output in one piece, and how long every command took."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

from tools.dev.shell import ROOT


class Result(NamedTuple):
    """A command that ended."""

    lane: str
    command: str
    seconds: float
    status: int


def run_lanes(lanes: Mapping[str, Sequence[Sequence[str]]]) -> list[Result]:
    """Run the commands of each lane in their order, and the lanes at the same time.

    A line tells when a command starts and ends. A lane's output is printed when the lane ends, which is at
    its first command that fails; the other lanes go on, so that one run tells all that is wrong.

    Args:
        lanes: the name of each and its commands.

    Returns:
        The commands that ran, as they ended.
    """
    results: list[Result] = []
    lock = threading.Lock()
    started = time.monotonic()

    def say(words: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {words}", flush=True)

    def follow(lane: str, commands: Sequence[Sequence[str]], output: IO[bytes]) -> None:
        for command in commands:
            shown, begun = " ".join(command), time.monotonic()
            with lock:
                say(f"{lane}: {shown}")
            output.write(f"\n== {shown}\n".encode())
            output.flush()
            try:
                status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output).returncode
            except OSError as error:  # it could not even begin
                output.write(f"{error}\n".encode())
                status = 127
            result = Result(lane, shown, time.monotonic() - begun, status)
            with lock:
                results.append(result)
                how = "passed" if status == 0 else f"FAILED with exit status {status}"
                say(f"{lane}: {shown}: {how} after {result.seconds:.0f} s")
            if status:
                return

    def run_lane(lane: str, commands: Sequence[Sequence[str]]) -> None:
        with tempfile.TemporaryFile() as output:
            follow(lane, commands, output)
            output.seek(0)
            with lock:
                print(f"\n==== lane {lane}", flush=True)
                print(output.read().decode(errors="replace"), flush=True)

    threads = [threading.Thread(target=run_lane, args=lane) for lane in lanes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def verdict(results: Sequence[Result]) -> int:
    """Print the time of each command and name those that failed; the exit status of the whole."""
    print(f"\n{'seconds':>8}  command")
    for result in results:
        print(f"{result.seconds:8.1f}  {result.command}{' (FAILED)' if result.status else ''}")
    failed = [f"{result.lane}: {result.command}" for result in results if result.status]
    print(*(f"failed: {name}" for name in failed), sep="\n", end="\n" if failed else "")
    return 1 if failed else 0


def share_cores() -> None:
    """Compilers leave room for other lanes: by default Ninja starts two more than there are cores."""
    os.environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
