"""Where the CUDA tests run: on a GPU, or on the CPU with the CUDA sources compiled for the host."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pybind11
import pytest
import torch

from pyrnn import _native
from pyrnn.ops.recurrent.cuda import recurrence
from tests.attention.checking import Kernel, kernel_on
from tests.cuda.cases import ENGINES
from tools.gpu_proof import rehearsal

ROOT = Path(__file__).resolve().parents[2]
#: Chosen by `dev.py emulate`.
MODE = os.environ.get("PYRNN_EMULATE_MODE", "plain")
#: One for each Python: CMake goes on building for the one that it found first.
BUILD = ROOT / "build" / f"emulate-{MODE}-{sys.implementation.cache_tag}"
#: -O1 takes a third of the compiler's time, and the tests hardly longer. The checking builds have assertions.
FLAGS = {
    "plain": ("-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",),
    "sanitized": ("-DPYRNN_SANITIZE=ON", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"),
    "race": ("-DPYRNN_EMULATE_RACE=ON", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"),
}


def on_gpu() -> bool:
    """Whether the kernels run on a GPU here; else they are emulated."""
    return torch.cuda.is_available() and not _native.why_no_cuda()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that runs the kernels on the host waits for a compiler."""
    compiles = {"emulated"} if on_gpu() else {"emulated", "device"}
    for item in items:
        inside = item.path.is_relative_to(Path(__file__).parent)
        if inside and compiles & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(autouse=True)
def device_survives() -> Iterator[None]:
    """A fault of the device shows at a later call and fails every test from then on: it ends the run."""
    real = on_gpu()
    yield
    if real:
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            pytest.exit(f"the device is lost: {error}", 1)


@pytest.fixture(scope="session")
def emulated() -> ModuleType:
    """The CUDA module compiled for the host, of the sources as they stand."""
    tools = Path(sys.executable).parent
    cmake = tools / "cmake" if (tools / "cmake").exists() else Path("cmake")
    configure = [
        *(cmake, "-S", ROOT, "-B", BUILD, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DPYRNN_EMULATE=ON"),
        *FLAGS[MODE],
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        *([f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"] if (tools / "ninja").exists() else []),
    ]
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:  # two test runs must not build at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (configure, [cmake, "--build", BUILD, "--target", "_cuda_emulated"]):
            unwatched = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=unwatched)
            if done.returncode and "PYRNN_CUDA_INCLUDE" in done.stderr:
                pytest.skip("no CUDA headers (cuda_fp16.h): the sources cannot be compiled for the host")
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (path,) = BUILD.glob("_cuda_emulated*.so")
    return rehearsal.emulated(path)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The device whose tensors the CUDA kernels serve in this test: "cuda", or "cpu" by emulation."""
    if on_gpu():
        yield "cuda"
        return
    # Not an argument: on a GPU nothing is compiled for the host.
    _native.emulated_cuda = request.getfixturevalue("emulated")
    yield "cpu"
    _native.emulated_cuda = None


@pytest.fixture
def kernel(device: str) -> Kernel:
    """Attention by the CUDA kernels, on tensors of the CPU."""
    return kernel_on(device)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test on each engine."""
    recurrence.forced_engine = request.param
    yield request.param
    recurrence.forced_engine = ""


@pytest.fixture
def schedules(device: str, request: pytest.FixtureRequest) -> Iterator[Callable[[int], None]]:
    """Chooses the order in which an emulated GPU runs its threads; a real one chooses for itself."""
    if device == "cuda":
        yield lambda seed: None
        return
    choose = ctypes.CDLL(request.getfixturevalue("emulated").__file__).pyrnn_emulate_seed
    choose.argtypes, choose.restype = [ctypes.c_uint64], None
    yield choose
    choose(1)
