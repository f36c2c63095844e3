"""Ctrl-C while a text is read, a tokenizer learned or ids are written: nothing half made is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import Forked

TEXT = b"the quick brown fox jumps over the lazy dog.\n" * 200

# The command, interrupted once when Python tells of an event whose arguments name a part.
INTERRUPTED = """
import os, signal, sys
event, part, *sys.argv[1:] = sys.argv[1:]
assert "tokenizers" not in sys.modules
def watch(name, args):
    global event
    if name == event and any(part in str(arg) for arg in args):
        event = None
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(watch)
from pyrnn.cli import main
sys.exit(main())
"""

MOMENTS = {
    "a nameless file is made": ("open", "temporary"),
    "the copy is read": ("open", "/proc/self/fd/"),
    "tokenizers is imported": ("import", "tokenizers."),
    "the vocabulary is written": ("open", ".vocab.json"),
    "the ids are written": ("open", ".tokens.bin"),
    "the ids are put in their place": ("os.rename", ".tokens.bin"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_leaves_nothing_half_made(moment: str, tmp_path: Path) -> None:
    temporary, run = tmp_path / "temporary", tmp_path / "run"
    temporary.mkdir()
    options = ("--level", "subword", "--max-vocabulary", "300", "--text", "/dev/stdin", "--epochs", "1")
    line = (*MOMENTS[moment], "train", "language-model", run, *options)
    # Torch's own cache, which stays, is kept elsewhere.
    places = {"TMPDIR": str(temporary), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    outlet, inlet = os.pipe()
    os.write(inlet, TEXT)
    os.close(inlet)
    stdin = f"/proc/{os.getpid()}/fd/{outlet}"
    ended = Forked(tmp_path, line, program=INTERRUPTED, environment=places, stdin=stdin).end()
    os.close(outlet)
    assert ended.returncode == 130, ended.stderr
    assert not [*temporary.iterdir()]
    assert not list(tmp_path.rglob("*.partial*"))


def test_an_interrupt_during_an_import_removes_what_is_being_written(tmp_path: Path) -> None:
    """Such an import ends the process on the spot, past every `finally`."""
    (tmp_path / "interrupted.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    program = """
import sys
from pathlib import Path
from pyrnn._files import atomic_write
from pyrnn.cli.interrupts import interruptible_imports
sys.path.append(sys.argv[1])
with interruptible_imports(), atomic_write(Path(sys.argv[1], "written")) as partial:
    partial.write_text("half")
    import interrupted
"""
    ended = subprocess.run([sys.executable, "-B", "-c", program, tmp_path], capture_output=True)
    assert ended.returncode == 130, ended.stderr.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["interrupted.py"]
