"""The command line behind `python3 dev.py gpu`, after the build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

import torch

from pyrnn import _native
from pyrnn.bench import record
from tools.gpu_proof.page import markdown
from tools.gpu_proof.rehearsal import DEVICE
from tools.gpu_proof.runner import Record, run_stages
from tools.gpu_proof.stages import chosen, options

NO_GPU = (
    "no GPU here: torch {torch} sees none ({why}). This command proves pyrnn on a machine with an NVIDIA "
    "GPU, a torch built with CUDA, and nvcc; docs/gpu.md says what it needs"
)


def why_no_gpu() -> str:
    """The reason in words; empty where torch can use a GPU."""
    if torch.cuda.is_available():
        return ""
    built = torch.version.cuda
    why = f"it is built for CUDA {built}, but finds no device" if built else "it is built without CUDA"
    return NO_GPU.format(torch=torch.__version__, why=why)


def environment(commit: str | None, *, rehearsal: bool = False) -> record.Row:
    """The machine, the device, and every version that a figure may depend on."""
    named = {"commit": commit} if commit else {}
    if rehearsal:
        return {**record.environment(), **DEVICE, **named}
    properties = torch.cuda.get_device_properties(0)
    smi = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0")
    return {
        **record.environment(),
        "device": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "sms": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "l2_mib": round(properties.L2_cache_size / 2**20, 1),
        "driver": _last_line(*smi),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nvcc": _last_line("nvcc", "--version"),
        **named,
    }


def _last_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "unknown"
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return (result.stdout.strip().splitlines() or ["unknown"])[-1]


def record_name(env: record.Row) -> str:
    """<date>-<device>-<commit>."""
    device = re.sub(r"[^a-z0-9]+", "-", env["device"].lower()).strip("-")
    return f"{env['date'][:10]}-{device}-{env['commit']}"


def main(argv: list[str] | None = None) -> int:
    """Run the chosen stages; 0 when none of them failed."""
    told = options(argv)
    if why := "" if told.rehearse else why_no_gpu() or _native.why_no_cuda():
        print(f"dev.py gpu: {why}", file=sys.stderr)
        return 2
    deadline = time.monotonic() + told.total - told.build_seconds
    env = environment(told.commit, rehearsal=told.rehearse is not None)
    kept = Record(told.out / f"{record_name(env)}.json", env, markdown, copies=told.copy_to)
    if told.build_seconds:
        kept.put("build", {"status": "passed", "seconds": round(told.build_seconds, 1), "rows": []})
    stages = [stage for stage in chosen(told.stages) if stage.command]
    fine = run_stages(stages, kept, deadline=deadline, rehearse=told.rehearse)
    print(f"\nrecord: {kept.path.with_suffix('.md')}", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
