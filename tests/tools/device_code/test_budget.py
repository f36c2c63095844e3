"""The budget of the CUDA build."""

from __future__ import annotations

from tools.device_code.__main__ import CPU_SECONDS, WHEEL_MIB, over_budget


def test_a_build_beyond_its_budget_is_told() -> None:
    assert over_budget(3 * CPU_SECONDS, WHEEL_MIB) == []
    slow, large = over_budget(6 * CPU_SECONDS, 2 * WHEEL_MIB)
    assert "1200 CPU seconds an architecture" in slow
    assert "48.0 MiB" in large
