"""What the code beside the kernels asks of the CUDA runtime, and makes of its errors: on a made-up one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.emulator.building import CSRC, cuda_include, run, why_not

HERE = Path(__file__).parent

#: Cases of launches.cpp, and their words.
CASES = {
    "available": "ok",
    "no_device": "CUDA cannot start: no CUDA-capable device is detected",
    "old_driver": "CUDA cannot start: CUDA driver version is insufficient for CUDA runtime version",
    "old_device": "device 1 has compute capability 7.5, the kernels need 8.0: "
    "hide it with CUDA_VISIBLE_DEVICES",
    "properties": "ok",
    "properties_are_asked_again_until_there_is_a_driver": "ok",
    "an_argument_arrives_as_the_kernel_has_it": "ok",
    "cluster_engine": "ok",
    "small_cluster_needs_no_attribute": "ok",
    "persistent_engine": "ok",
    "step_engine": "ok",
    "without_cooperative_launches": "ok",
    "a_refused_question_leaves_no_error": "ok",
    "too_much_shared_memory": "pyrnn: launching a look: invalid argument",
    "too_many_threads": "pyrnn: launching a look: invalid configuration argument",
    "not_resident": "pyrnn: launching a look: too many blocks in cooperative launch",
    "a_failed_launch_leaves_no_error": "ok",
    "a_fault_of_the_device": "pyrnn: preparing the pass: an illegal memory access was encountered",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cases, linked with the real launches and the recurrence's plan and engine."""
    if reason := why_not():
        pytest.skip(reason)
    target = tmp_path_factory.mktemp("launches") / "launches"
    recurrent = CSRC / "recurrent" / "cuda"
    sources = [HERE / "launches.cpp", CSRC / "common/cuda/device.cpp", *recurrent.glob("*.cpp")]
    command = ["g++", "-std=c++17", "-O0", f"-I{CSRC}", "-isystem", cuda_include(), *sources, "-o", target]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize(("case", "words"), CASES.items(), ids=CASES)
def test_case(program: Path, case: str, words: str) -> None:
    result = run(program, case)
    assert (result.returncode, result.stdout) == (0, f"{words}\n"), result.stderr
