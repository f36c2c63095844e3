"""The command line in processes that begin with torch imported: real ones, without a second of imports each.

`python -m pyrnn` itself, a launcher, and closed streams need an interpreter that starts: tests of these
start one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

#: Imports these once and forks from there.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pyrnn.cli.app", "pyrnn.train", "tests.cuda.injected_fault", __name__])


class Ended(NamedTuple):
    """Exit status, negative for a signal's, and what was said."""

    returncode: int
    stdout: str
    stderr: str


class Forked:
    """`pyrnn ARGUMENTS` in a process of its own; or a program with these, as by `python -c`.

    Each stream is a file that is opened by its name, which may be a pipe's or a terminal's; by default
    nothing is read, and what is written goes to files in the folder.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[object],
        *,
        program: str = "",
        environment: Mapping[str, str] | None = None,
        stdin: str | Path = os.devnull,
        stdout: str | Path | None = None,
        stderr: str | Path | None = None,
    ) -> None:
        folder = Path(tempfile.mkdtemp(dir=folder))
        self.stdout, self.stderr = Path(stdout or folder / "stdout"), Path(stderr or folder / "stderr")
        streams = (str(stdin), str(self.stdout), str(self.stderr))
        line = [*map(str, arguments)]
        for path in (self.stdout, self.stderr):
            if path.parent == folder:
                path.touch()
        self._begun = folder / "begun"
        told = {**os.environ, **(environment or {})}
        self.process = PROCESSES.Process(target=_begin, args=(line, program, told, streams, self._begun))
        self.process.start()

    def send_signal(self, number: signal.Signals) -> None:
        """As by `kill`; not before the command line has control."""
        while not self._begun.exists() and self.poll() is None:
            time.sleep(0.01)
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self.process.exitcode

    def end(self, timeout: float = 120) -> Ended:
        """Wait for its end."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"the process did not end: {self.stderr.read_text()}")
        said = (path.read_text() if path.is_file() else "" for path in (self.stdout, self.stderr))
        return Ended(self.process.exitcode, *said)


def launched(folder: Path, count: int, arguments: Sequence[object]) -> list[Ended]:
    """As many processes of `pyrnn ARGUMENTS` as a launcher would start, by what it would tell them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    told |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    started = [
        Forked(folder, arguments, environment={**told, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]
    return [process.end() for process in started]


def _begin(
    line: list[str], program: str, environment: dict[str, str], streams: tuple[str, str, str], begun: Path
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    for number, path in enumerate(streams):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    import torch

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    sys.argv = ["pyrnn", *line]
    begun.touch()
    if program:
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    else:
        from pyrnn.cli import main

        sys.exit(main())
