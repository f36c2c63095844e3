"""The emulator's instructions mean what the device's do: against torch, and against what devices gave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.emulator.building import Builder, run

RECORDS = sorted((Path(__file__).resolve().parents[2] / "bench" / "results" / "gpu").glob("ptx-*.json"))


class Section(NamedTuple):
    """What one instruction gave."""

    exact: bool
    values: torch.Tensor


Dump = dict[str, Section]


def dump_of(builder: Builder) -> list[Dump]:
    """The emulator's dump under each of eight schedules."""
    result = run(builder.program(Path(__file__).with_name("dump.cu")))
    assert result.returncode == 0, result.stdout + result.stderr
    found: list[Dump] = [{} for _ in range(8)]
    for line in result.stdout.splitlines():
        schedule, name, exact, *values = line.split(" ")
        numbers = torch.tensor([float(value) for value in values])
        found[int(schedule)][name] = Section(exact == "1", numbers)
    return found


@pytest.fixture(scope="module")
def dumps(builder: Callable[[str], Builder]) -> list[Dump]:
    """Of the plain build."""
    return dump_of(builder("plain"))


def hashed(i: torch.Tensor) -> torch.Tensor:
    """The hash of ptx_dump.cu, in 32 bits of int64."""
    i = ((i ^ (i >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    i = ((i ^ (i >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return i ^ (i >> 16)


def test_no_schedule_changes_a_result(dumps: list[Dump]) -> None:
    for name, section in dumps[0].items():
        for other in dumps[1:]:
            torch.testing.assert_close(
                other[name].values, section.values, rtol=0, atol=0, equal_nan=True, msg=name
            )


def test_product_of_a_warp_is_that_of_matrices(dumps: list[Dump]) -> None:
    """The places of elements in a warp are those of the comment in csrc/common/ptx.h."""
    numbers = (hashed(torch.arange(4 * 32 * 16)) % 17 - 8).view(4, 32, 16).double()
    lane = torch.arange(32)
    group, column = lane // 4, lane % 4 * 2
    a, b, d = torch.zeros(4, 16, 16), torch.zeros(4, 16, 8), torch.zeros(4, 16, 8)
    a, b, d = a.double(), b.double(), d.double()
    for i in range(8):
        a[:, group + i // 2 % 2 * 8, column + i // 4 * 8 + i % 2] = numbers[:, :, i]
    for i in range(4):
        b[:, column + i // 2 * 8 + i % 2, group] = numbers[:, :, 8 + i]
        d[:, group + i // 2 * 8, column + i % 2] = numbers[:, :, 12 + i]
    product = d + a @ b
    expected = torch.stack([product[:, group + i // 2 * 8, column + i % 2] for i in range(4)], -1)
    for name in ("mma_bf16_integers", "mma_f16_integers"):
        torch.testing.assert_close(dumps[0][name].values, expected.flatten().float(), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "dtype"), [("round_bf16", torch.bfloat16), ("round_f16", torch.float16)])
def test_rounding_is_that_of_torch(dumps: list[Dump], name: str, dtype: torch.dtype) -> None:
    thread = torch.arange(32)
    bits = hashed(thread + 1000)
    words = torch.where(bits < 2**31, bits, bits - 2**32).int()
    small = (hashed(thread) % 65536 - 32768).float() / 16384 * torch.ldexp(torch.ones(32), -thread - 8)
    numbers = [words.view(torch.float32), 1 + thread / 4096, 1 + thread / 512, small]
    expected = torch.cat(numbers).to(dtype).float()
    torch.testing.assert_close(dumps[0][name].values, expected, rtol=0, atol=0, equal_nan=True)


def compare(dump: Dump, record: Path) -> None:
    """Fail where the emulator gives something else than the device of the record."""
    results: dict[str, tuple[bool, list[float]]] = json.loads(record.read_text())["results"]
    assert results.keys() == dump.keys(), record
    for name, (exact, values) in results.items():
        if not values:
            continue  # the device is older than the instruction
        # A device sums products in an order of its own and cuts their low bits: terms are up to 4.
        torch.testing.assert_close(
            dump[name].values,
            torch.tensor(values),
            rtol=0.0 if exact else 1e-5,
            atol=0.0 if exact else 1e-4,
            equal_nan=True,
            msg=lambda words, name=name: f"{record.name}, {name}: {words}",
        )


if RECORDS:  # no device has dumped its instructions before there is one: `dev.py gpu dump` does it

    @pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
    def test_emulations_agree_with_devices(record: Path, dumps: list[Dump]) -> None:
        compare(dumps[0], record)


def test_builds_of_the_emulator_agree(builder: Callable[[str], Builder], dumps: list[Dump]) -> None:
    """Under the sanitizers, which see what a wrapper reads or shifts too far."""
    (sanitized, *_) = dump_of(builder("sanitized"))
    assert sanitized.keys() == dumps[0].keys()
    for name, section in sanitized.items():
        torch.testing.assert_close(
            section.values, dumps[0][name].values, rtol=0, atol=0, equal_nan=True, msg=name
        )


def test_a_device_that_differs_is_seen(dumps: list[Dump], tmp_path: Path) -> None:
    results = {name: [section.exact, section.values.tolist()] for name, section in dumps[0].items()}
    record = tmp_path / "ptx-none.json"
    record.write_text(json.dumps({"results": results}))
    compare(dumps[0], record)
    results["shuffles"][1][40] += 1
    record.write_text(json.dumps({"results": results}))
    with pytest.raises(AssertionError, match=r"ptx-none\.json, shuffles"):
        compare(dumps[0], record)
