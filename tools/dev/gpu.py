"""What only a machine with a GPU can prove: packed here, run there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

from tools.dev.setup import setup
from tools.dev.shell import PYTHON, ROOT, ask, die, run

GPU_STAGES = ("build", "ceilings", "tests", "sanitizer", "dump", "bench")  # as in pyrnn/bench/gpu/stages.py
BUILD_SECONDS = 240  # of the 480 that `gpu` has for everything


def gpu(arguments: list[str]) -> int:
    """Build for this GPU alone, then let pyrnn.bench.gpu run the other stages."""
    seen = ask("import torch; print(torch.cuda.is_available() and torch.cuda.get_device_capability())")
    helps = bool({"-h", "--help"} & {*arguments})
    if seen in (None, "False") and not helps:
        die(
            "gpu: no GPU here: torch "
            + ("sees none" if seen else "is missing")
            + "; docs/gpu.md says what it needs"
        )
    names = [name for name in arguments if name in GPU_STAGES]
    told: list[str] = []
    if not helps and (not names or "build" in names):
        major, minor = re.findall(r"\d+", seen or "")
        architecture = f"{major}{minor}{'a' if major == '9' else ''}-real"
        told = build_for(architecture)
    return run(PYTHON, "-m", "pyrnn.bench.gpu", *arguments, *told)


def build_for(architecture: str) -> list[str]:
    """Set up with the CUDA module, within its time; without it where that fails, so that the rest can run."""
    started, log = time.monotonic(), ROOT / "build" / "gpu-build.log"
    log.parent.mkdir(exist_ok=True)
    limited = ("timeout", "-k", "5", str(BUILD_SECONDS), sys.executable, str(ROOT / "dev.py"), "setup")
    os.environ["PATH"] += f"{os.pathsep}/usr/local/cuda/bin"  # where the toolkit is but PATH does not say so
    wanted = {"PYRNN_CUDA": "ON", "PYRNN_CUDA_ARCHITECTURES": architecture}
    print("+", *limited, "with", wanted, "into", log, flush=True)
    with log.open("w") as file:
        status = subprocess.run(limited, env=os.environ | wanted, stdout=file, stderr=file).returncode
    if status != 0:
        print(
            log.read_text(errors="replace")[-4000:], "dev.py: the CUDA build failed; without it:", flush=True
        )
        os.environ["PYRNN_CUDA"] = "OFF"
        setup()
    seconds = time.monotonic() - started
    return [f"--build-status={status}", f"--build-seconds={seconds:.1f}", f"--build-log={log}"]
