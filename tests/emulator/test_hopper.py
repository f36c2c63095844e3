"""Instructions of compute capability 9.0a: what the emulator gives, and says, in the cases of hopper.cu."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.emulator.building import CSRC, run
from tests.emulator.conftest import GetBuilder, Outcomes
from tools.device_code.compile import find_tools, missing

HERE = Path(__file__).parent

#: Cases that are right, under every schedule and in every mode.
RIGHT = (
    "product_k_k",
    "product_k_mn",
    "product_mn_k",
    "product_mn_mn",
    "product_registers_k",
    "product_registers_mn",
    "written_operands",
    "groups",
    "polled_barrier",
    "hand_over",
    "registers",
)
#: Words that a fault ends with.
FAULTS = {
    "no_wait": "wrong",
    "wrong_parity": "deadlock",
    "no_expected_bytes": "24576 bytes more than this phase of the barrier expects have landed",
    "too_few_bytes": "land after the phase of their barrier: it expected too few",
    "too_many_bytes": "lacks 0 arrivals and 128 bytes in its phase 0",
    "no_wait_for_buffer": "one arrival more than the 1 of this phase, which still lacks 24576 bytes",
    "early_release": "wrong",
    "early_read": "wrong",
    "early_write": "wrote to sums of a product in flight",
    "no_commit": "is in no group: wgmma.commit_group is missing",
    "no_fence": "without a wgmma.fence since the last wgmma.wait_group",
    "no_product_wait": "products of a warpgroup in flight: wgmma.wait_group is missing",
    "one_warp_less": "lacks 32 arrivals",
    "no_init": "on a barrier that is not initialised",
    "no_init_fence": "whose init no fence.mbarrier_init followed",
    "other_swizzle": "has a swizzle other than 128 bytes",
    "map_without_swizzle": "wrong",
    "wrong_offset": "reaches past the end of a row of 128 bytes",
    "wrong_stride": "has a stride that is not a multiple of 1024 bytes",
    "misaligned_tile": "to an address that is not 128-byte aligned",
    "overwritten_operands": "wrong",
    "two_phases_behind": "for phase 1 of a barrier that has completed phase 2: two behind",
    "barrier_written_over": "on a barrier that was written over",
    "barrier_twice": "mbarrier.init of a barrier that is initialised",
    "phase_never_comes": "lacks 1 arrivals and 0 bytes in its phase 0",
    "too_many_arrivals": "one arrival more than the 32 of this phase, which still lacks 16 bytes",
    "no_parity": "parity 2, expected 0 or 1",
    "narrow_box": "box rows of 128 bytes for the 128-byte swizzle, got 64",
    "odd_stride": "strides that are multiples of 16 bytes below 2^40, got 120",
    "barrier_of_other_count": "came to it with 128",
    "barrier_of_too_few": "wrong",
    "barrier_lacks_threads": "64 of 128 threads are at the named barrier 3",
    "barrier_beyond_block": "bar 3 of 160 threads, expected whole warps of this block's 128",
    "barrier_zero": "bar 0, expected 1 to 15",
    "too_many_registers": "in setmaxnreg.inc",
    "registers_of_half_a_group": "ended with 24 and 168 registers",
}
RACES = {
    "no_wait": "data race on shared memory: a read by thread",
    "no_expected_bytes": "data race on shared memory",
    "early_release": "data race on shared memory",
    "no_proxy_fence": "is read by wgmma without a proxy fence between",
    "overwritten_operands": "data race on shared memory: a write by thread",
    "barrier_of_too_few": "data race on shared memory",
}


@pytest.mark.parametrize("mode", ["plain", "race", "sanitized"])
def test_products_and_barriers_are_right_under_every_schedule(outcomes: Outcomes, mode: str) -> None:
    assert outcomes("hopper.cu", mode, *RIGHT) == dict.fromkeys(RIGHT, "ok")


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_seen(outcomes: Outcomes, case: str) -> None:
    assert FAULTS[case] in outcomes("hopper.cu", "plain", *FAULTS)[case]


@pytest.mark.parametrize("case", RACES)
def test_a_race_is_seen(outcomes: Outcomes, case: str) -> None:
    assert RACES[case] in outcomes("hopper.cu", "race", *RACES)[case]


@pytest.mark.parametrize(("case", "access"), [("early_read", "READ"), ("early_write", "WRITE")])
def test_sums_in_flight_are_guarded(builder: GetBuilder, case: str, access: str) -> None:
    """By AddressSanitizer: it names the access itself."""
    result = run(builder("sanitized").program(HERE / "hopper.cu"), case)
    assert "use-after-poison" in result.stderr
    assert f"{access} of size 4" in result.stderr


@pytest.fixture(scope="module")
def cubin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product of hopper_product.cu for a device."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc: the instructions cannot be compiled")
    path = tmp_path_factory.mktemp("hopper") / "product.cubin"
    architecture = ["-gencode", "arch=compute_90a,code=sm_90a", "-cubin"]
    command = [
        nvcc,
        "-std=c++17",
        f"-I{CSRC}",
        *architecture,
        str(HERE / "hopper_product.cu"),
        "-o",
        str(path),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    # Products that the compiler cannot leave in flight are only remarked upon.
    assert "serialized" not in result.stdout + result.stderr
    return path


def test_a_device_gets_the_instructions_that_are_meant(cubin: Path) -> None:
    find_tools()
    if missing("nvdisasm"):
        pytest.skip("no nvdisasm: install CUDA's, or the package nvidia-cuda-nvdisasm")
    sass = subprocess.run(["nvdisasm", str(cubin)], capture_output=True, text=True, check=True).stdout
    expected = (
        "HGMMA.64x128x16.F32.BF16",
        "tnspA",
        "tnspB",
        "UTMALDG.4D",
        "SYNCS.PHASECHK",
        "SYNCS.ARRIVE.TRANS64",
        "WARPGROUP.DEPBAR",
    )
    assert [word for word in expected if word not in sass] == []
