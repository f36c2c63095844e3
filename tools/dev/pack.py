"""Build here for a machine with a GPU and little time, and say what to run there."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tools.dev.native import cmake_build
from tools.dev.setup import setup
from tools.dev.shell import ROOT, commit, fail

PACKED = ROOT / "build" / "packed.json"
MODULES = ("_cpu", "_cuda")
SUFFIX = "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"

#: The stages of each command, the seconds that they have, and those after which the command is to be ended.
COMMANDS = (
    (("sizes", "rooflines", "tests", "dump"), 310, 360),
    (("attention", "bench", "sanitizer"), 310, 360),
)


def pack(arguments: list[str]) -> int:
    """Modules for another Python and a named GPU, put where `import pyrnn` finds them in the checkout."""
    parser = argparse.ArgumentParser(prog="dev.py gpu pack", description=pack.__doc__)
    parser.add_argument("--python", default="3.12", help="version, or path of an interpreter (default 3.12)")
    parser.add_argument(
        "--architectures", default="90a-real", help="for which GPUs, as CMake names them (default 90a-real)"
    )
    told = parser.parse_args(arguments)
    setup()
    python = interpreter(told.python)
    suffix = subprocess.run([python, "-c", SUFFIX], capture_output=True, text=True, check=True).stdout.strip()
    os.environ["PATH"] += f"{os.pathsep}/usr/local/cuda/bin"  # where the toolkit is but PATH does not say so
    options = {
        "CUDA": "ON",
        "PTX_DUMP": "ON",
        "CUDA_ARCHITECTURES": told.architectures,
        "INSTRUCTION_SETS": "all",  # nobody knows that machine's processor
    }
    name = f"pack{suffix.removesuffix('.so')}"
    folder = cmake_build(name, *MODULES, python=python, options=options, version=version())
    names = [f"pyrnn/{name}{suffix}" for name in MODULES]
    for name in names:
        partial = ROOT / f"{name}.partial"
        shutil.copyfile(folder / Path(name).name, partial)
        partial.replace(ROOT / name)
    content = {"sources": sources(), "python": python, "architectures": told.architectures, "files": names}
    PACKED.write_text(json.dumps(content) + "\n")
    print("packed:", *names)
    return 0


def interpreter(name: str) -> str:
    """The path of the Python that is named by version or path."""
    if "/" in name:
        places = [name]
    else:
        installed = (Path.home() / ".pyenv" / "versions").glob(f"{name}*/bin/python")
        places = [*map(str, sorted(installed, reverse=True)), f"python{name}"]
    code = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for place in filter(shutil.which, places):
        asked = subprocess.run((place, "-c", code), capture_output=True, text=True)
        found, _, path = asked.stdout.strip().partition(" ")
        if asked.returncode == 0 and (found == name or place == name):
            break
    else:
        fail(f"there is no Python {name} here: install it with its headers, or give the path of one")
    return path


def version() -> str:
    """Of the package, without importing it."""
    (found,) = re.findall(r'__version__ = "(.*)"', (ROOT / "pyrnn" / "_version.py").read_text())
    return found


def sources() -> str:
    """Changes with everything that the modules are made of."""
    paths = [ROOT / "CMakeLists.txt", *sorted(path for path in (ROOT / "csrc").rglob("*") if path.is_file())]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def plan(arguments: list[str]) -> int:
    """The commands for a machine with a GPU and fifteen minutes, for the tree as it stands."""
    parser = argparse.ArgumentParser(prog="dev.py gpu plan", description=plan.__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    told = parser.parse_args(arguments)
    packed = json.loads(PACKED.read_text()) if PACKED.exists() else None
    if packed is None:
        fail("gpu plan: nothing is packed yet: run `python3 dev.py gpu pack`")
    if packed["sources"] != sources() or not all((ROOT / name).exists() for name in packed["files"]):
        fail("gpu plan: the C++ sources changed after packing: run `python3 dev.py gpu pack` again")
    steps = [*commands()]
    if told.json:
        print(json.dumps({"carry": packed["files"], "commands": steps}))
        return 0
    print("Carry with the checkout, besides what git knows (ignored files):")
    print(*(f"  {name}" for name in packed["files"]), sep="\n")
    print(f"They are for {packed['python']} and {packed['architectures']}.")
    for number, step in enumerate(steps, 1):
        print(f"\nCommand {number}, at most {step['timeout_s']} s, in the checkout; OUT names a folder that")
        print(f"comes back:\n\n{step['command']}")
    print("\nIf the modules do not load there, name the stage `build` first: 60 to 90 s of the same time.")
    return 0


def commands() -> Iterator[dict[str, object]]:
    """Each with the seconds after which it may be ended; the second adds to the record of the first."""
    for names, total, limit in COMMANDS:
        command = (
            f"PYTHONUNBUFFERED=1 PYRNN_PYTHON=current python3 dev.py gpu {' '.join(names)} --total {total} "
            f'--out build/gpu-record --copy-to "$OUT" --commit {commit()}'
        )
        yield {"command": command, "timeout_s": limit}
