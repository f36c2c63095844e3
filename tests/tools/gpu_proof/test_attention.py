"""The attention stage without a GPU: on the kernels of the CPU, and what the page says of its rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.bench import record
from tools.gpu_proof import attention, attention_page, rehearsal
from tools.gpu_proof.attention import AttentionCase, check


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("variant", ["plain", "bias"])
def test_right_results_are_right(variant: str, mode: str) -> None:
    row = check(AttentionCase(1, 2, 9, 12, 8, True, variant, mode), "cpu", 3, exact=True)
    assert (row["outcome"], row["repeats"], row["equal"]) == ("right", 3, 3)
    assert row["error_of_allowed"] <= 1


def test_a_wrong_result_and_other_bits_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = attention.scaled_dot_product_attention, itertools.count(1)

    def wrong(*args: Any, **options: Any) -> torch.Tensor:
        out = right(*args, **options)
        assert isinstance(out, torch.Tensor)
        return out + 10 * next(calls)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", wrong)
    outcome = check(AttentionCase(1, 1, 5, 5, 8), "cpu", 3, exact=True)["outcome"]
    assert "times what is allowed; 2 repetitions gave other bits" in outcome


def test_the_stage_writes_rows_and_fails_where_one_is_wrong(
    run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"outcome": "right"}, {"ratio": 1.0}, {"outcome": "an error"}]
    monkeypatch.setattr(rehearsal, "begin", lambda told: "cpu")
    monkeypatch.setattr(attention, "jobs", lambda **_: iter([lambda row=row: row for row in rows]))
    assert run_main("attention", tmp_path) == 1
    assert record.read(tmp_path / "rows.jsonl") == rows


def test_the_page_puts_goals_beside_what_was_reached() -> None:
    spread = {"median": 1e-4, "p20": 1e-4, "p80": 2e-4}
    timed = {"pyrnn_s": spread, "peer_s": spread, "ratio_spread": {"p20": 0.5, "p80": 1.5}}
    case = asdict(AttentionCase(1, 2, 512, 512, 64, True))
    rows = [
        {"what": "check", **case, "outcome": "right", "repeats": 20, "equal": 20},
        *({"what": "time", **case, **timed, "peer": "flash", "ratio": ratio} for ratio in (0.5, 2.0)),
        {"refused": "no such backend", "number": 3},
        {"left_out": 2, "of": 9},
    ]
    page = "\n".join(attention_page.lines(rows))
    assert (
        "| forward against flash | goal 0.75x | geometric mean 1.00x, smallest 0.50x, 1 of 2 reach it |"
        in page
    )
    assert "| forward and backward against flash | goal 0.75x | not measured |" in page
    assert "20 of 20 runs have the same bits" in page
    assert "plain infer B 1 H 2 T 512 S 512 D 64 causal bfloat16 | flash | 100.0 | 100.0 | 2.00x" in page
    assert "refused: no such backend" in page
    assert "2 of 9 were left out" in page
