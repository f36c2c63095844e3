"""Control characters of others' text do not reach a terminal."""

from __future__ import annotations

import io
import os
import pty
from pathlib import Path

import pytest

from pyrnn.cli.terminal import escaped, write
from tests.cli.conftest import Command
from tests.processes import Forked

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\r"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_what_a_terminal_obeys_is_escaped() -> None:
    assert escaped(HOSTILE) == r"\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\r"
    for harmless in ("to be,\n\tor not", "日本 é 😀 \u200d", "\\x1b"):
        assert escaped(harmless) == harmless
    assert escaped("\ud800") == r"\ud800"


def test_a_file_and_raw_have_the_text_itself() -> None:
    for stream, raw, expected in (
        (Terminal(), False, escaped(HOSTILE)),
        (Terminal(), True, HOSTILE),
        (io.StringIO(), False, HOSTILE),
    ):
        write(HOSTILE, raw=raw, stream=stream)
        assert stream.getvalue() == expected


def on_a_terminal(folder: Path, line: list[str], stdin: str = "") -> str:
    """What a command writes to a terminal that is its standard output and error."""
    (folder / "stdin").write_text(stdin)
    outer, inner = pty.openpty()
    name = os.ttyname(inner)
    process = Forked(folder, line, stdin=folder / "stdin", stdout=name, stderr=name)
    process.end()
    os.close(inner)
    shown = b""
    while True:
        try:
            piece = os.read(outer, 1 << 16)
        except OSError:  # all who wrote have ended
            break
        if not piece:
            break
        shown += piece
    os.close(outer)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("verb", ["generate", "score", "error"])
def test_commands_on_a_terminal(verb: str, trained: Path, tmp_path: Path) -> None:
    hostile = HOSTILE.replace("\r", "")
    if verb == "generate":
        line = ["generate", str(trained), "--prompt", hostile, "--max-tokens", "3"]
        assert on_a_terminal(tmp_path, [*line, "--raw"]).count("\x1b") == 2
    elif verb == "score":
        line = ["score", str(trained)]
    else:
        line = ["evaluate", str(trained), "--text", f"no{hostile}where"]
    shown = on_a_terminal(tmp_path, line, f"{hostile}\n")
    assert escaped(hostile) in shown
    assert not set("\x1b\x07\x9b\u202e") & set(shown)


def test_a_hostile_run_is_told_about_without_its_escapes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model": {}, "task": "\\u001b[31m"}')
    code, _, err = command(f"info {tmp_path}")
    assert code == 2
    assert "\x1b" not in err
    assert command(f"generate {tmp_path}/'a\x1bb'")[2].count("\x1b") == 0
