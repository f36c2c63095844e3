"""The attention stage without a GPU: on the kernels of the CPU, and what the page says of its rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.bench import record
from tools.gpu_proof import attention, attention_cases, attention_page
from tools.gpu_proof.attention import AttentionCase, check, measure
from tools.gpu_proof.attention_cases import FLEX, OTHER_KERNEL, PEERS, REHEARSED, SPECIAL, Job, times
from tools.gpu_proof.attention_peers import Refused

CASE = AttentionCase(1, 2, 5, 6, 8, True)


# ---- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("variant", ["plain", "bias", "dropout"])
@pytest.mark.parametrize("causal", [True, False])
def test_right_results_are_right(variant: str, mode: str, causal: bool) -> None:
    case = AttentionCase(1, 2, 9, 12, 8, causal, variant, mode)
    row = check(case, "cpu", 3, exact=True)
    assert (row["outcome"], row["repeats"], row["equal"]) == ("right", 3, 3)
    assert row["error_of_allowed"] <= 1
    assert row.items() >= {"what": "check", **asdict(case)}.items()


def test_a_wrong_result_and_other_bits_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = attention.scaled_dot_product_attention, itertools.count(1)

    def wrong(*args: Any, **options: Any) -> Tensor:
        out = right(*args, **options)
        assert isinstance(out, Tensor)
        return out + 10 * next(calls)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", wrong)
    outcome = check(AttentionCase(1, 1, 5, 5, 8), "cpu", 3, exact=True)["outcome"]
    assert "times what is allowed; 2 repetitions gave other bits" in outcome


@pytest.mark.parametrize(
    ("variant", "left_out"),
    [("bias", {"is_causal": False}), ("dropout", {"seed": torch.tensor(7)}), ("dropout", {"dropout_p": 0.0})],
)
def test_an_option_that_ours_ignores_is_seen(
    variant: str, left_out: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = attention.scaled_dot_product_attention

    def ignoring(*args: Any, **options: Any) -> Any:
        return right(*args, **{**options, **left_out})

    case = AttentionCase(1, 2, 9, 12, 8, True, variant, "train")
    monkeypatch.setattr(attention, "scaled_dot_product_attention", ignoring)
    assert "times what is allowed" in check(case, "cpu", 0, exact=True)["outcome"]


def test_only_our_kernels_are_checked_and_timed() -> None:
    case = AttentionCase(1, 2, 5, 6, 8, dtype="float16")  # the reference's on the CPU
    for job in (Job(case), Job(case, "math")):
        assert "RuntimeError: our kernels would not compute this" in attention.attempt(job, "cpu")["outcome"]


def test_a_rehearsal_has_gradients_of_a_bias_and_of_dropped_weights() -> None:
    assert {case.variant for case in REHEARSED if case.mode == "train"} == {"bias", "dropout"}


# ---- times ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_events")
@pytest.mark.parametrize("variant", ["plain", "bias", "dropout", "decode"])
def test_a_measured_row_is_complete(variant: str) -> None:
    case = AttentionCase(1, 2, 5, 6, 8, variant=variant, mode="infer" if variant == "decode" else "train")
    row = measure(case, "math", "cpu")
    assert row.items() >= {"what": "time", **asdict(case), "peer": "math"}.items()
    assert row["ratio"] == pytest.approx(row["peer_s"]["median"] / row["pyrnn_s"]["median"])
    assert row["rounds"] >= 5
    assert ("bytes_per_second" in row) == (variant == "decode")
    (line,) = (line for line in attention_page.lines([row]) if "| math |" in line)
    assert f"{row['ratio']:.2f}x" in line
    assert "us, its" in attention.found(row)


def test_special_cases_come_first_and_compilation_late() -> None:
    jobs = times()
    assert len({*jobs}) == len(jobs)
    assert {(job.case, job.peer) for job in jobs[:30]} == {*itertools.product(SPECIAL, PEERS)}
    flash = [job.case.S for job in jobs if job.peer == "flash" and job.case not in SPECIAL]
    assert (flash[0], flash[-1], len(flash)) == (2048, 16384, 48)
    ours = [job.case for job in jobs if job.peer == OTHER_KERNEL]
    assert (len(ours), {case.D for case in ours}, {case.mode for case in ours}) == (16, {64, 128}, {"infer"})
    flex = [number for number, job in enumerate(jobs) if job.peer == "flex"]
    assert 2 <= len(flex) == len(FLEX) <= 6
    assert flex[0] > max(number for number, job in enumerate(jobs) if job.peer in ("flash", "cudnn"))


# ---- the stage -----------------------------------------------------------------------------------

Stage = Callable[..., tuple[int, list[record.Row]]]


@pytest.fixture
def stage(run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Run jobs, in which a call of `measure` gives or raises what stands for its peer; status and rows."""

    def run(jobs: list[Job], *, healthy: bool = True, **outcomes: Any) -> tuple[int, list[record.Row]]:
        def measured(case: AttentionCase, name: str, _: str) -> record.Row:
            if isinstance(outcomes[name], Exception):
                raise outcomes[name]
            return {**Job(case, name).row(), **outcomes[name]}

        monkeypatch.setattr(attention, "jobs", lambda *, rehearsed: jobs)
        monkeypatch.setattr(
            attention, "check", lambda case, *_, **__: {**Job(case).row(), "outcome": "right"}
        )
        monkeypatch.setattr(attention, "measure", measured)
        monkeypatch.setattr(attention, "healthy", lambda: healthy)
        monkeypatch.setattr(_native, "why_no_cuda", lambda: "")
        return run_main("attention", tmp_path), record.read(tmp_path / "rows.jsonl")

    return run


def test_a_refusal_is_named_and_fails_nothing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    code, rows = stage([Job(CASE), Job(CASE, "flash")], flash=Refused("no such heads"))
    assert code == 0
    assert rows[1] == {"what": "time", **asdict(CASE), "peer": "flash", "refused": "no such heads"}
    said = "plain infer B 1 H 2 T 5 S 6 D 8 causal bfloat16 against flash: refused: no such heads"
    assert said in capsys.readouterr().out
    assert f"- {said}" in "\n".join(attention_page.lines(rows))


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, TypeError, AssertionError])
def test_any_other_exception_fails_the_stage_and_costs_the_rest_nothing(
    kind: type[Exception], stage: Stage
) -> None:
    spread = {"median": 1e-4, "p20": 1e-4, "p80": 2e-4}
    timed = {"pyrnn_s": spread, "peer_s": spread, "ratio_spread": {"p20": 0.5, "p80": 1.5}, "ratio": 1.0}
    code, rows = stage([Job(CASE, "flash"), Job(CASE, "cudnn")], flash=kind("ours\nmore"), cudnn=timed)
    assert (code, rows[1]["ratio"]) == (1, 1.0)
    outcome = f"error: {kind.__name__}: ours"
    assert rows[0] == {"what": "time", **asdict(CASE), "peer": "flash", "outcome": outcome}
    page = "\n".join(attention_page.lines(rows))
    assert f"- plain infer B 1 H 2 T 5 S 6 D 8 causal bfloat16 against flash: {outcome}" in page


def test_a_wrong_result_fails_the_stage(stage: Stage) -> None:
    assert stage([Job(CASE, "math")], math={"outcome": "an error is 9 times what is allowed"})[0] == 1


def test_a_device_that_a_peer_has_lost_is_no_refusal(stage: Stage) -> None:
    jobs = [Job(CASE, "flash"), Job(CASE, "math"), Job(CASE)]
    code, rows = stage(jobs, healthy=False, flash=Refused("an illegal memory access"), math={})
    assert (code, len(rows)) == (1, 2)
    assert rows[0]["outcome"] == "error: the device no longer answers after: an illegal memory access"
    assert rows[1] == {"left_out": 2, "of": 3, "cases": [*map(str, jobs[1:])]}


def test_what_there_is_no_time_for_is_left_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job(CASE), Job(CASE, "flex"), Job(CASE, "flash")]
    monkeypatch.setitem(attention_cases.NEEDS_OF, "flex", 28.0)  # of 30, less 3
    code, rows = stage(jobs, flash=Refused("no"))
    assert (code, [row["what"] for row in rows[:2]]) == (0, ["check", "time"])
    assert rows[2] == {"left_out": 1, "of": 3, "cases": [str(jobs[1])]}
    assert "1 of 3 were left out" in "\n".join(attention_page.lines(rows))
    monkeypatch.setattr(attention, "RESERVE", 1e6)
    assert stage(jobs)[1][-1] == {"left_out": 3, "of": 3, "cases": [*map(str, jobs)]}


# ---- the page ------------------------------------------------------------------------------------


def test_the_page_puts_goals_beside_what_was_reached() -> None:
    spread = {"median": 1e-4, "p20": 1e-4, "p80": 2e-4}
    timed = {"pyrnn_s": spread, "peer_s": spread, "ratio_spread": {"p20": 0.5, "p80": 1.5}, "ran": "hopper"}
    case = asdict(AttentionCase(1, 2, 512, 512, 64, True))
    rows = [
        {"what": "check", **case, "ran": "hopper", "outcome": "right", "repeats": 20, "equal": 20},
        {"what": "check", **case, "kernel": "ampere", "ran": "ampere", "outcome": "right"},
        *({"what": "time", **case, **timed, "peer": "flash", "ratio": ratio} for ratio in (0.5, 2.0)),
        {"left_out": 2, "of": 9},
    ]
    page = "\n".join(attention_page.lines(rows))
    assert (
        "| forward against flash | goal 0.75x | geometric mean 1.00x, smallest 0.50x, 1 of 2 reach it |"
        in page
    )
    assert "| forward and backward against flash | goal 0.75x | not measured |" in page
    assert "bfloat16 on hopper: right, 20 of 20 runs have the same bits" in page
    assert "bfloat16, kernel ampere on ampere: right" in page
    assert (
        "plain infer B 1 H 2 T 512 S 512 D 64 causal bfloat16 | hopper | flash | 100.0 | 100.0 | 2.00x"
        in page
    )
    assert "2 of 9 were left out" in page
