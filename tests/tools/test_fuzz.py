"""The fuzzer finds what was put there for it to find, and says how to have it again."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.attention.cases import on_threads
from tests.tools.injected import NAMES
from tools.fuzz import __main__ as command
from tools.fuzz.judge import judge
from tools.fuzz.report import Report
from tools.fuzz.runner import ROOT, Plan, run
from tools.fuzz.targets import TARGETS, draw

PLAN = Plan("0", workers=2, together=4, patience=8.0, targets="tests.tools.injected")


@pytest.fixture(scope="module")
def report() -> Report:
    """Of all injected faults, between two calls that are right."""
    return run(PLAN, [(n, name) for n, name in enumerate((*NAMES, "nothing"))])


@pytest.mark.parametrize(
    ("name", "symptom"),
    [
        ("another number", "wrong numbers: result"),
        ("another gradient", "wrong numbers: d_x"),
        ("nan", "wrong numbers: result"),
        ("attribute", "raised AttributeError: an object has no attribute 'no_such_thing'"),
        ("crash", "crash: SIGSEGV"),
        ("hang", "hang: more than 8 s"),
        ("exit", "crash: exit status 3"),
        ("garbage", "differs from run to run: result"),
        ("writes", "changed its argument x"),
        ("refusal", "refused a valid call: RuntimeError"),
        ("no words", "raised ValueError: no"),
    ],
)
def test_planted_fault_is_found(name: str, symptom: str, report: Report) -> None:
    (failure,) = [each for each in report.failures if each.target == name]
    assert failure.symptom.startswith(symptom)


def test_calls_without_a_fault_are_right(report: Report) -> None:
    right = [target for target, _, status in report.counts if status == "right"]
    assert sorted(right) == ["after another", "nothing"]
    assert ("unread", "valid", "unchecked") in report.counts
    assert report.calls == len(NAMES) + 1


def test_failures_are_made_again_and_printed_as_programs(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    few = Report(
        report.counts, [each for each in report.failures if each.target in ("another number", "crash")]
    )
    command.show(few, PLAN)
    shown = capsys.readouterr().out
    for failure in few.failures:
        assert f"--seed 0 --index {failure.index} --only {failure.target}" in shown
    (crash,) = [
        each for each in re.findall(r"^from tools.*?^result = .*?$", shown, re.M | re.S) if "ctypes" in each
    ]
    ended = subprocess.run([sys.executable, "-c", crash], cwd=ROOT, capture_output=True, timeout=200)
    assert ended.returncode == -11, ended.stderr


SOURCES = """
from tools.fuzz.targets import draw, target_of
calls = [(index, target_of("s", index)) for index in range(150)]
print(*(draw("s", *call).source() for call in calls), sep="\\n")
"""


def test_a_call_depends_on_seed_and_number_alone() -> None:
    """Not on the order of a set, which is another in every process."""
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in "12"]
    one, other = (
        subprocess.check_output([sys.executable, "-c", SOURCES], cwd=ROOT, env=env, timeout=200)
        for env in environments
    )
    assert one == other
    assert len({draw(seed, 3, "attention").source() for seed in "abc"}) == 3


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.usefixtures("isa_put_back")
@pytest.mark.filterwarnings("ignore")
def test_every_target_draws_calls_that_can_be_judged(target: str) -> None:
    with on_threads(1):
        outcomes = [judge(call) for index in range(12) if not (call := draw("tests", index, target)).odd]
    assert outcomes
    assert {outcome.status for outcome in outcomes} <= {"right", "failed"}, outcomes
