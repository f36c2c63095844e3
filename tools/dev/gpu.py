"""What only a machine with a GPU can prove. `pack` and `plan` prepare it where there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tools.dev import pack
from tools.dev.setup import setup
from tools.dev.shell import PYTHON, ROOT, fail, query, run
from tools.gpu_proof import stages

BUILD_SECONDS = 240

SEEN = "import torch; print(torch.cuda.is_available() and torch.cuda.get_device_capability())"
WHY = "from pyrnn import _native; print(_native.why_no_cuda() or 'ready')"


def gpu(arguments: list[str]) -> int:
    """With what is built already, or built for this GPU alone, let tools/gpu_proof run the stages."""
    word, *rest = arguments or [""]
    if word in ("pack", "plan"):
        return {"pack": pack.pack, "plan": pack.plan}[word](rest)
    if word in ("compare", "publish"):
        setup()
        return run(PYTHON, "-m", f"tools.gpu_proof.{word}", *rest)
    told = stages.options(arguments)  # help, or a mistake, ends here
    if told.rehearse:
        return run(PYTHON, "-m", "tools.gpu_proof", *arguments)
    seen = query(SEEN)
    if seen in (None, "False"):
        sees = "sees none" if seen else "is missing"
        fail(f"gpu: no GPU here: torch {sees}; docs/gpu.md says what it needs")
    build = "build" in told.stages or not (told.stages or query(WHY, cwd=ROOT) == "ready")
    seconds = build_for(seen, told.copy_to) if build else 0.0
    why = query(WHY, cwd=ROOT)
    if why != "ready":
        fail(f"gpu: no kernels to prove: {why or 'pyrnn cannot be imported: name the stage build'}")
    return run(PYTHON, "-m", "tools.gpu_proof", *arguments, f"--build-seconds={seconds:.1f}")


def build_for(capability: str | None, copies: Path | None) -> float:
    """Set up with the CUDA module, within its time. Seconds it took; where it fails, the end."""
    major, minor = re.findall(r"\d+", capability or "")
    architecture = f"{major}{minor}{'a' if major == '9' else ''}-real"
    started, log = time.monotonic(), ROOT / "build" / "gpu-build.log"
    log.parent.mkdir(exist_ok=True)
    limited = ("timeout", "-k", "5", str(BUILD_SECONDS), sys.executable, str(ROOT / "dev.py"), "setup")
    os.environ["PATH"] += f"{os.pathsep}/usr/local/cuda/bin"  # where the toolkit is but PATH does not say so
    os.environ |= {"PYRNN_CUDA": "ON", "PYRNN_CUDA_ARCHITECTURES": architecture}
    print("+", *limited, "for", architecture, "into", log, flush=True)
    with log.open("w") as file:
        status = subprocess.run(limited, stdout=file, stderr=file).returncode
    if status != 0:
        text = log.read_text(errors="replace")
        if copies is not None:
            copies.mkdir(parents=True, exist_ok=True)
            (copies / log.name).write_text(text)
        took = f"{time.monotonic() - started:.0f} s"
        print(text[-4000:], flush=True)
        fail(f"gpu: the CUDA build failed after {took}, exit status {status}: its last words stand above")
    return time.monotonic() - started
