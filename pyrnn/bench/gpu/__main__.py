"""The command line behind `python3 dev.py gpu`, after the build."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from pyrnn.bench import record
from pyrnn.bench.gpu.page import markdown
from pyrnn.bench.gpu.runner import TAIL, Record, run_stages, status_of
from pyrnn.bench.gpu.stages import NAMES, STAGES, TOTAL, chosen

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


def environment(commit: str | None) -> record.Row:
    """The machine, the device, and every version that a figure may depend on."""
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
        **({"commit": commit} if commit else {}),
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


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    does = "; ".join(f"{stage.name}: {stage.does}" for stage in STAGES)
    parser = argparse.ArgumentParser(prog="dev.py gpu", description=f"Prove pyrnn on a GPU. Stages: {does}.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--out", type=Path, default=record.RESULTS / "gpu", help="folder of the record")
    parser.add_argument("--total", type=float, default=TOTAL, help=f"seconds for all (default {TOTAL:.0f})")
    parser.add_argument("--commit", help="name of the version, where there is no git to ask")
    parser.add_argument("--build-seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--build-status", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--build-log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if unknown := [name for name in options.stages if name not in NAMES]:
        parser.error(f"no stage is called {unknown[0]!r}: choose among {', '.join(NAMES)}")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run the chosen stages; 0 when none of them failed."""
    options = arguments(argv)
    if why := why_no_gpu():
        print(f"dev.py gpu: {why}", file=sys.stderr)
        return 2
    deadline = time.monotonic() + options.total - options.build_seconds
    env = environment(options.commit)
    kept = Record(options.out / f"{record_name(env)}.json", env, markdown)
    built = options.build_status in (None, 0)
    if options.build_status is not None:
        kept.put("build", build_result(options.build_status, options.build_seconds, options.build_log))
    stages = [stage for stage in chosen(options.stages) if stage.command]
    fine = run_stages(stages, kept, deadline=deadline)
    print(f"\nrecord: {kept.path.with_suffix('.md')}", flush=True)
    return 0 if fine and built else 1


def build_result(code: int, seconds: float, log: Path | None) -> record.Row:
    """What dev.py found, in the form of the other stages."""
    result: record.Row = {"status": status_of(code), "exit": code, "seconds": round(seconds, 1), "rows": []}
    if code != 0 and log is not None and log.exists():
        result["output"] = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
    return result


if __name__ == "__main__":
    sys.exit(main())
