"""sdist and wheel, and a trial of the wheel where nothing else can satisfy it."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from tools.dev.setup import setup
from tools.dev.shell import PYTHON, ROOT, check_call, fail, query, run

MAX_WHEEL = 16 * 2**20  # bytes
INSTRUCTION_SETS = ("baseline", "avx2", "avx512", "avx512_bf16")

# Run in another folder and another environment, so nothing but the installed wheel can satisfy it.
WHEEL_TRIAL = """
import pathlib, subprocess, sys, torch, pyrnn, pyrnn.nn
assert pathlib.Path(pyrnn.__file__).is_relative_to(sys.prefix), pyrnn.__file__
ours, torchs = pyrnn.nn.GRU(5, 7), torch.nn.GRU(5, 7)
ours.load_state_dict(torchs.state_dict())
x = torch.randn(3, 2, 5)
torch.testing.assert_close(ours(x)[0], torchs(x)[0])
subprocess.run([pathlib.Path(sys.prefix) / "bin" / "pyrnn", "info"], check=True)
print("wheel: pyrnn", pyrnn.__version__, "works from", pyrnn.__file__)
"""

CUDA_TRIAL = """
from pyrnn import _cuda
assert _cuda.architectures.split() == ["80", "90a", "100"], _cuda.architectures
print("wheel: CUDA for", _cuda.architectures, "and", _cuda.why_unavailable() or "a GPU to run on")
"""


def build(arguments: list[str]) -> int:
    setup()
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    # The wheel is made from the sdist, which proves that the sdist is complete.
    cuda = "ON" if "--cuda" in arguments else "OFF"
    quick = "--quick" in arguments
    sets = ("baseline",) if quick else INSTRUCTION_SETS
    # Whether the packages are complete does not depend on how fast their kernels are.
    unoptimized = ("PYRNN_KERNEL_OPTIMIZATION=-O0", "CMAKE_CXX_FLAGS_RELEASE=-O0 -DNDEBUG") if quick else ()
    check_call(
        *(PYTHON, "-m", "build", "--no-isolation", "--outdir", dist),
        *(
            f"-Ccmake.define.PYRNN_CUDA={cuda}",
            f"-Ccmake.define.PYRNN_INSTRUCTION_SETS={';'.join(sets)}",
            *(f"-Ccmake.define.{definition}" for definition in unoptimized),
            ROOT,
        ),
        otherwise="the packages could not be built",
    )
    (wheel,) = dist.glob("*.whl")
    if wheel.stat().st_size > MAX_WHEEL:
        fail(f"{wheel.name} has {wheel.stat().st_size:,} bytes, {MAX_WHEEL:,} are allowed")
    check_content(wheel, {*sets})
    with tempfile.TemporaryDirectory(prefix="pyrnn-wheel-") as folder:
        fresh = Path(folder) / "fresh"
        check_call(PYTHON, "-m", "venv", fresh, otherwise="no environment could be made")
        (site,) = fresh.glob("lib/python*/site-packages")
        # torch is lent, not copied. Names in a path file stand after the environment's own packages.
        (site / "lent.pth").write_text(
            query("import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])") or ""
        )
        installer = (fresh / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check")
        check_call(*installer, "--no-deps", "--no-index", wheel, otherwise="the wheel does not install")
        trial = WHEEL_TRIAL + (CUDA_TRIAL if cuda == "ON" else "")
        return run(fresh / "bin" / "python", "-c", trial, cwd=Path(folder))


def check_content(path: Path, instruction_sets: set[str]) -> None:
    """Refuse a wheel that lacks something of the package or these kernels, or holds anything else."""
    sources = [p for p in (ROOT / "pyrnn").rglob("*") if p.is_file() and p.suffix not in (".pyc", ".so")]
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        info = {name.split(".dist-info/")[1] for name in wheel.namelist() if ".dist-info/" in name}
        modules = {re.sub(r"\..*", "", name): name for name in names if name.endswith(".so")}
        native = wheel.read(modules["pyrnn/_cpu"]) if "pyrnn/_cpu" in modules else b""
    odd = (names - {*modules.values()}) ^ {source.relative_to(ROOT).as_posix() for source in sources}
    if odd or not {"pyrnn/_cpu"} <= modules.keys() <= {"pyrnn/_cpu", "pyrnn/_cuda"}:
        fail(f"{path.name} has other files than pyrnn/: {', '.join(sorted(odd | modules.keys()))}")
    if not {"METADATA", "licenses/LICENSE"} <= info:
        fail(f"{path.name} lacks its metadata or its licence")
    if missing := missing_instruction_sets(native) & instruction_sets:
        fail(f"{path.name} lacks kernels of {', '.join(sorted(missing))}")


def missing_instruction_sets(module: bytes) -> set[str]:
    """Those whose kernels a compiled module lacks, of all that there are for this kind of processor."""
    known = INSTRUCTION_SETS if platform.machine() in ("x86_64", "AMD64") else INSTRUCTION_SETS[:1]
    return {name for name in known if f"{name}\0".encode() not in module}
