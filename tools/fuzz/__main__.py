"""`python3 dev.py fuzz`: random calls of everything, until the time is up.

--seconds N      how long (default 60)           --calls N    how many instead
--seed S         another sequence of calls       --only NAME  of these targets alone
--index I[:J]    only calls I to J - 1, each printed with its source
--workers N      processes (default 2)           --native P   with another build of pyrnn._cpu
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
from collections.abc import Iterable

from tools.fuzz.report import Failure, Report
from tools.fuzz.runner import Plan, run
from tools.fuzz.targets import TARGETS, target_of

_MOST_SHOWN = 40


def main() -> int:
    """Run, print tables and reproducers; 1 if a call failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--index")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--native", default="")
    parser.add_argument("--preload", default="")
    told = parser.parse_args()
    numbers: Iterable[int] = itertools.count() if told.calls is None else range(told.calls)
    if told.index:
        begin, _, end = told.index.partition(":")
        numbers = range(int(begin), int(end or int(begin) + 1))
    endless = told.calls is None and not told.index
    plan = Plan(
        told.seed,
        seconds=told.seconds or (60.0 if endless else math.inf),
        workers=1 if told.index else told.workers,
        patience=300.0 if told.preload else 60.0,
        native=told.native,
        preload=told.preload,
    )
    calls = ((number, target_of(told.seed, number, tuple(told.only))) for number in numbers)
    if told.index:
        calls = list(calls)
        print(*(plan.draw(*call).source() for call in calls), sep="\n\n", flush=True)
    report = run(plan, calls)
    show(report, plan)
    print(f"fuzz: seed {told.seed}, {report.calls} calls in {report.seconds:.0f} s, ", end="")
    print(
        f"{report.calls / max(report.seconds, 1e-9):.0f} a second, {len(report.failures)} failed", flush=True
    )
    return 1 if report.failures else 0


def show(report: Report, plan: Plan) -> None:
    """The table, and one reproducer for each kind of failure."""
    kinds = report.kinds()
    shown = kinds[:_MOST_SHOWN]
    alone = seen_again([failure for failure, _ in shown], plan)
    for number, (failure, count) in enumerate(shown, 1):
        print(f"\n---- failure {number} of {len(kinds)}, {count} calls: {failure.target}: {failure.symptom}")
        command = f"# python3 dev.py fuzz --seed {plan.seed} --index"
        if failure.kind in alone:
            print(f"{command} {failure.index} --only {failure.target}")
        else:
            print(
                f"{command} {failure.since}:{failure.index + 1}, with the same --only; alone it does not fail"
            )
        print(plan.draw(failure.index, failure.target).source())
        print("\n".join(f"#   {line}" for line in failure.details.splitlines()[-25:]))
    print(f"\n{report.table()}\n")
    for failure, count in kinds:
        print(f"{count:6}  {failure.target}: {failure.symptom}  (call {failure.index})")


def seen_again(failures: list[Failure], plan: Plan) -> set[tuple[str, str]]:
    """The kinds of those that fail once more, each made again by its seed and number alone."""
    calls = [(failure.index, failure.target) for failure in failures]
    once_more = run(dataclasses.replace(plan, seconds=math.inf, together=1), calls)
    return {failure.kind for failure in once_more.failures}


if __name__ == "__main__":
    sys.exit(main())
