"""The emulator sees the faults that kernels of this kind have: each is put into a copy of the sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = "csrc/recurrent/cuda/CMakeFiles/pyrnn_cuda_recurrent_kernels_float32.dir/kernels.cu.o"


class Fault(NamedTuple):
    """In file `name` of csrc, `old` becomes `new`."""

    name: str
    old: str
    new: str
    race_only: bool = False  # nothing but the race detector sees it: memory of the emulator is sequential


FAULTS = {
    "missing_barrier": Fault(
        "recurrent/cuda/recurrence_kernel.h",
        "      __syncthreads();\n      A sum[2][M];",
        "      A sum[2][M];",
    ),
    "wrong_lane": Fault(
        "recurrent/cuda/product.h",
        "const A* left = weights + lane / 4 * 2",
        "const A* left = weights + lane % 4 * 2",
    ),
    "tail_of_the_batch": Fault(
        "recurrent/cuda/block.h", "at.b < w.B && unit < w.H", "at.b <= w.B && unit < w.H"
    ),
    "tail_of_the_units": Fault(
        "recurrent/cuda/block.h", "at.b < w.B && unit < w.H", "at.b < w.B && unit <= w.H"
    ),
    "reset_one_step_late": Fault(
        "recurrent/cuda/block.h",
        "return is_cut(w, d == 0 ? t + 1 : t,",
        "return is_cut(w, d == 0 ? t : t + 1,",
    ),
    "sums_of_half_the_warps": Fault(
        "recurrent/cuda/recurrence_kernel.h",
        "        __syncthreads();\n        if (warp < kParts)",
        "        if (warp < kParts)",
    ),
    "missing_grid_barrier": Fault(
        "recurrent/cuda/recurrence_kernel.h",
        "if (row0 == 0 && s > s0) exchange.wait(s)",
        "if (false) exchange.wait(s)",
    ),
    "single_buffer": Fault(
        "recurrent/cuda/exchange.h",
        "from = buffers + s % 2 * size, to = buffers + (s + 1) % 2 * size;\n  }\n\n  // Numbers",
        "from = buffers, to = buffers;\n  }\n\n  // Numbers",
    ),
    "single_buffer_of_a_cluster": Fault(
        "recurrent/cuda/exchange.h",
        "from = buffers + s % 2 * size, to = buffers + (s + 1) % 2 * size;\n  }\n\n  template",
        "from = buffers, to = buffers;\n  }\n\n  template",
    ),
    "leaving_a_cluster_early": Fault(
        "recurrent/cuda/exchange.h",
        "  __device__ void close(int64_t s1) {\n    ptx::cluster_wait_acquire();",
        "  __device__ void close(int64_t s1) {",
    ),
    "wrong_rank": Fault(
        "recurrent/cuda/exchange.h", "map_shared_rank(there, unit / kUnits)", "map_shared_rank(there, 0)"
    ),
    "wrong_arrival_count": Fault(
        "recurrent/cuda/exchange.h", "unsigned(s) * gridDim.x", "unsigned(s + 1) * gridDim.x"
    ),
    "missing_block_barrier_before_arrival": Fault(
        "common/cuda/grid_barrier.h",
        "  __syncthreads();\n  if (threadIdx.x == 0) ptx::red_add",
        "  if (threadIdx.x == 0) ptx::red_add",
    ),
    "missing_release": Fault(
        "common/cuda/grid_barrier.h", "ptx::red_add_release(arrivals, 1)", "*arrivals += 1", True
    ),
}


#: What `faulty` runs is an LSTM: the other cells are not compiled.
ONE_CELL = (
    "{cell_of<Cell, S>()...}",
    "{{}, {}, {}, cell_of<LstmCell, S>()}",
)


def commands(build: Path, target: str) -> str:
    """The last command that makes `target`."""
    told = subprocess.run(
        ["ninja", "-C", build, "-t", "commands", target], capture_output=True, text=True, check=True
    )
    return told.stdout.splitlines()[-1]


def built(emulated: ModuleType, folder: Path, *, sources: Path = ROOT / "csrc", flags: str = "-O1") -> Path:
    """The module with its float32 kernels compiled anew, of other sources or with other flags."""
    module = Path(emulated.__file__ or "")
    build, kernels, result = module.parent, folder / "kernels.o", folder / module.name
    compile_it = commands(build, KERNELS).replace(str(ROOT / "csrc"), str(sources))
    link_it = commands(build, module.name).replace(f"-o {module.name}", f"-o {result} {kernels}")
    for command in (compile_it.replace(f"-o {KERNELS}", f"{flags} -o {kernels}"), link_it):
        done = subprocess.run(command, shell=True, cwd=build, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    return result


def run(module: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.cuda.injected_fault", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_seen(fault: Fault, emulated: ModuleType, tmp_path: Path) -> None:
    if fault.race_only and not emulated.detects_races:
        pytest.skip("only a build with the race detector sees this fault: `dev.py emulate race`")
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    for name, old, new in (("recurrent/cuda/kernels.cu", *ONE_CELL), (fault.name, fault.old, fault.new)):
        source = tmp_path / "csrc" / name
        text = source.read_text()
        assert text.count(old) == 1, f"{name} no longer has one {old!r}"
        source.write_text(text.replace(old, new))
    result = run(built(emulated, tmp_path, sources=tmp_path / "csrc"))
    assert result.returncode != 0, result.stdout
    assert "ImportError" not in result.stderr, result.stderr


def test_a_debug_build_stops_at_lengths_outside(emulated: ModuleType, tmp_path: Path) -> None:
    module = built(emulated, tmp_path, flags="-O1 -UNDEBUG")
    assert run(module).stdout == "right\n"
    assert "0 <= length && length <= w.T" in run(module, "outside").stderr


def test_without_a_fault_all_is_right(emulated: ModuleType) -> None:
    result = run(Path(emulated.__file__ or ""))
    assert (result.returncode, result.stdout) == (0, "right\n"), result.stdout + result.stderr
