"""A process that makes calls one after another and may die of any of them.

It reads lines "INDEX TARGET", announces each call before it starts, and answers with what became of it.
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
import json
import os
import resource
import sys
import warnings
from pathlib import Path

_MOST_MEMORY = 12 * 2**30  # of addresses: a call that wants more is told so by the allocator


def load_native(path: str) -> None:
    """Let the compiled module at `path` be `pyrnn._cpu`."""
    name = "pyrnn._cpu"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def main(seed: str, targets: str, native: str) -> None:
    """Answer until there is nothing more to read."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    faulthandler.enable()
    warnings.simplefilter("ignore")
    import torch  # before the native module: there is one OpenMP runtime, torch's

    # torch's layers have a fast path whose GELU is another than the one that was asked for.
    torch.backends.mha.set_fastpath_enabled(False)
    if native:
        load_native(native)
    else:
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    from tools.fuzz.judge import judge

    draw = importlib.import_module(targets).draw
    answers.write("ready\n")
    for line in sys.stdin:
        index, target = line.rstrip("\n").split(" ", 1)
        answers.write(f"{index}\n")
        call = draw(seed, int(index), target)
        outcome = judge(call)
        answers.write(json.dumps([outcome.status, outcome.symptom, outcome.details, call.odd]) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main(*sys.argv[1:])
