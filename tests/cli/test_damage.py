"""Every file of a run, damaged in many ways: each command works, or says which file is wrong in one line."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrnn.tasks import find_task, make_job
from pyrnn.train import train
from tests.cli.conftest import Command
from tests.tasks.test_tagger import sentences, write
from tests.train.small_runs import KillAt, Killed, small_job

FILES = ("config.json", "vocab.json", "model.safetensors", "trainer.safetensors", "metrics.jsonl")

#: What a value of JSON is replaced with.
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2.5, -0.0, 10**6, 10**12, 2**63, -(2**63), 10**40, 10**400, 1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "\0", "\ud800", "é" * 99, [], [[]], {}, {"a": 1}),
    *([1] * 1000, "F64", "BF16", "F16", "F8_E4M3", "I64", "BOOL", "U8", "Q9", [0, 8], [1, 1], [-4]),
)


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"level": "word", "max_vocabulary": 9},
        {"level": "subword"},
        {"architecture": "transformer", "optimizer": "sgd", "momentum": 0.9, "precision": "bfloat16"},
        "tagger",
    ],
    ids=["character", "word", "subword", "transformer", "tagger"],
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in the middle of an epoch."""
    folder = tmp_path_factory.mktemp("damage")
    sizes = {"batch_size": 2, "bptt_steps": 8, "hidden_size": 8, "embedding_size": 4, "num_layers": 1}
    steps = {"epochs": 1, "max_steps": 7, "checkpoint_every": 2}
    if request.param == "tagger":
        text = write(folder / "text.txt", sentences(40))
        settings = {**steps, "batch_size": 2, "hidden_size": 8, "embedding_size": 4, "ema_decay": 0.5}
        job = make_job("tagger", {"text": str(text), **settings})
    else:
        job = small_job(folder, **{**steps, **sizes, **request.param})
    with pytest.raises(Killed):
        train(job, folder / "run", reporter=KillAt(5))
    return folder / "run"


def _truncate(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.choice((0, 1, 7, 8, 9, draw.randrange(len(data)), len(data) - draw.randint(1, 9)))]


def _flip(data: bytes, draw: random.Random) -> bytes:
    """Bytes anywhere, or among the first: headers, and the beginning of tables."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 30))):
        place = draw.randrange(min(draw.choice((8, 200, len(data))), len(data)))
        changed[place] = draw.choice((draw.randrange(256), *b'0123456789[]{},:"'))
    return bytes(changed)


def _splice(data: bytes, draw: random.Random) -> bytes:
    """A piece repeated, cut out, moved, or written in another encoding."""
    a, b = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    return draw.choice(
        (
            data[:b] + data[a:],
            data[:a] + data[b:],
            data[a:] + data[:a],
            data + data,
            b"\xef\xbb\xbf" + data,
            data.decode("latin1").encode("utf-16"),
            data.decode("latin1").encode("utf-8"),
            b"[" * 100_000,
            b'{"model":' * 5000,
            b"\0" * len(data),
            draw.randbytes(len(data)),
        )
    )


def _replace_json(data: bytes, draw: random.Random) -> bytes:
    """One value of a table, however deep, is replaced, removed, or given another name."""
    values = inner = json.loads(data)
    home: Any = None
    key: Any = None
    while isinstance(inner, (dict, list)) and inner and (home is None or draw.random() < 0.8):
        home, key = inner, draw.choice([*inner] if isinstance(inner, dict) else range(len(inner)))
        inner = home[key]
    kind = draw.randrange(6)
    if home is None or kind == 0:
        return json.dumps(draw.choice(STRANGE)).encode()
    if kind == 1:
        del home[key]
    elif kind == 2 and isinstance(home, dict):
        home[draw.choice(("", "x", "model", "__metadata__"))] = home.pop(key)
    else:
        home[key] = draw.choice(STRANGE)
    return json.dumps(values).encode()


def _replace_header(data: bytes, draw: random.Random) -> bytes:
    """As `_replace_json`, in the header of a file of safetensors or its counters; or tensors change."""
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8:end]), data[end:]
    names = [name for name in header if name != "__metadata__"]
    kind = draw.randrange(5)
    if kind == 0:  # the tensors of two names change places
        a, b = draw.choice(names), draw.choice(names)
        header[a], header[b] = header[b], header[a]
    elif kind == 1 and "__metadata__" in header and "counters" in header["__metadata__"]:
        counters = header["__metadata__"]["counters"].encode()
        header["__metadata__"]["counters"] = _replace_json(counters, draw).decode()
    elif kind == 2:  # a scalar, in a file that is right otherwise
        name = draw.choice(names)
        begin, stop = header[name]["data_offsets"]
        wanted = 4 if header[name]["dtype"] == "F32" else 1
        header[name]["shape"] = []
        cut = stop - begin - wanted
        rest = rest[: begin + wanted] + rest[stop:]
        header[name]["data_offsets"] = [begin, begin + wanted]
        for other in names:
            if header[other]["data_offsets"][0] >= stop and other != name:
                header[other]["data_offsets"] = [place - cut for place in header[other]["data_offsets"]]
    elif kind == 3:  # numbers of the same size that are none, or huge, or tiny
        name = draw.choice(names)
        begin, stop = header[name]["data_offsets"]
        pattern = draw.choice((b"\xff\xff\xff\xff", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f", b"\x01\0\0\0"))
        rest = rest[:begin] + (pattern * (stop - begin))[: stop - begin] + rest[stop:]
    else:
        text = _replace_json(json.dumps(header).encode(), draw)
        return struct.pack("<Q", len(text)) + text + rest
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def _damage(path: Path, draw: random.Random) -> str:
    """Damage a file; says how."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [_truncate, _flip, _splice]
    if path.suffix == ".json":
        ways += [_replace_json] * 5
    elif path.suffix == ".safetensors":
        ways += [_replace_header] * 5
    data = path.read_bytes()
    for _ in range(draw.choice((1, 1, 1, 2)) if path.suffix != ".safetensors" else 1):
        way = draw.choice(ways)
        data = way(data, draw) if len(data) > 12 else data
        ways = [_truncate, _flip]
    path.write_bytes(data)
    return way.__name__


def _commands(run: Path, text: Path, task: str) -> list[str]:
    verbs = (
        [f"tag {run}"]
        if task == "tagger"
        else [f"generate {run} --prompt the --max-tokens 3", f"score {run}"]
    )
    return [f"train {task} {run} --resume", *verbs, f"evaluate {run} --text {text}", f"info {run}"]


def check(command: Command, run: Path, folder: Path, seed: int) -> None:
    """Damage one file of a copy of `run`, and give the copy to every command."""
    draw = random.Random(seed)
    task = find_task(json.loads((run / "config.json").read_text())["task"])
    files = [*FILES, *(name for name in task.files if (run / name).exists() and name not in FILES)]
    name = files[seed % len(files)]
    copy = Path(shutil.copytree(run, folder / f"run-{seed}"))
    how = _damage(copy / name, draw)
    damaged = (copy / name).read_bytes()
    for line in _commands(copy, run.parent / "text.txt", task.name):
        told = f"seed {seed}, {name} {how}: {line}"
        code, out, err = command(line, "the fox\n")
        assert code in (0, 1, 2), told
        assert "Traceback" not in out + err, told
        if code:
            assert re.fullmatch(r"(.*Warning.*\n.*\n)?error: [^\n]+\n", err), f"{told}\n{err}"
            # Or a vocabulary that is whole, but of another text.
            assert re.search(f"{copy}|diverged|not in the vocabulary", err), f"{told}\n{err}"
        if line.startswith("train"):
            (copy / name).write_bytes(damaged)  # a run that went on has written it anew
    shutil.rmtree(copy)


@pytest.mark.filterwarnings("ignore:the checkpoint was written with")
def test_every_command_names_a_damaged_file(run: Path, command: Command, tmp_path: Path) -> None:
    """More seeds: PYRNN_DAMAGE=5000."""
    for seed in range(int(os.environ.get("PYRNN_DAMAGE", "30"))):
        check(command, run, tmp_path, seed)
