"""What became of the calls, as tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_STATUSES = ("right", "unchecked", "refused", "undrawable", "failed")


@dataclass(frozen=True)
class Failure:
    """A call that failed; `since` is the first call that its process had been given with it."""

    index: int
    target: str
    symptom: str
    details: str
    since: int

    @property
    def kind(self) -> tuple[str, str]:
        """What failures alike have in common."""
        return self.target, self.symptom


@dataclass
class Report:
    """How many calls of each target ended how, and those that failed."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, target: str, kind: str, status: str) -> None:
        self.counts[target, kind, status] += 1

    @property
    def calls(self) -> int:
        return sum(self.counts.values())

    def kinds(self) -> list[tuple[Failure, int]]:
        """The first failure of each kind and how many there are of it, the most frequent first."""
        found: dict[tuple[str, str], list[Failure]] = {}
        for failure in self.failures:
            found.setdefault(failure.kind, []).append(failure)
        firsts = [(min(alike, key=lambda f: f.index), len(alike)) for alike in found.values()]
        return sorted(firsts, key=lambda pair: (-pair[1], pair[0].index))

    def table(self) -> str:
        """Calls by target, and by what they were and what became of them."""
        rows: list[tuple[str, ...]] = [("target", "calls", "valid", "odd", *_STATUSES)]
        targets = sorted({target for target, _, _ in self.counts})
        for target in (*targets, "all"):
            mine = {key: n for key, n in self.counts.items() if target in (key[0], "all")}
            of_kind = [sum(n for key, n in mine.items() if key[1] == kind) for kind in ("valid", "odd")]
            of_status = [sum(n for key, n in mine.items() if key[2] == status) for status in _STATUSES]
            rows.append((target, *(str(n) for n in (sum(mine.values()), *of_kind, *of_status))))
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
                ]
            )
            for row in rows
        )
