"""Machine code of NVIDIA's devices (SASS) as data: instructions of a kernel, and its loops.

Only what the rules ask is read: where an instruction stands, its text, and where branches go.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_ARCHITECTURE = re.compile(r"\s*code for (sm_\w+)")
_FUNCTION = re.compile(r"\s*Function : (\S+)")
_INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;")
_TARGET = re.compile(r"\bBRA(?:\.\S+)?\b.*\b0x([0-9a-f]+)$")
#: Where nothing follows, unless under a condition: ahead of the operation, or before its target.
_ENDS = re.compile(r"(?:BRA(?:\.U)? 0x|EXIT|RET|BRX|JMP)")


@dataclass(frozen=True)
class Instruction:
    """`text` is the whole of it: condition, operation, operands."""

    address: int
    text: str


@dataclass(frozen=True)
class Function:
    """The code of one kernel on one architecture."""

    architecture: str
    name: str
    code: tuple[Instruction, ...]

    def places(self, pattern: str) -> list[int]:
        """Indices of the instructions in which `pattern` occurs."""
        found = re.compile(pattern)
        return [place for place, each in enumerate(self.code) if found.search(each.text)]

    def loop_of(self, place: int) -> set[int]:
        """The outermost loop that holds an instruction: what it leads to and what leads to it."""
        ahead, behind = self._next
        return _reached(place, ahead) & _reached(place, behind)

    def inner_loop_of(self, place: int) -> set[int]:
        """The shortest stretch around an instruction that ends with a branch back to where it begins."""
        ahead, _ = self._next
        back = ((first, last) for last, following in enumerate(ahead) for first in following)
        stretches = (range(first, last + 1) for first, last in back if first <= place <= last)
        return set(min(stretches, key=len, default=()))

    def around(self, pattern: str) -> set[int]:
        """The straight lines of code, without a branch or a branch's target, that hold such instructions."""
        ahead, behind = self._next
        found = set[int]()
        for place in self.places(pattern):
            first = last = place
            while behind[first] == [first - 1] and ahead[first - 1] == [first]:
                first -= 1
            while ahead[last] == [last + 1] and behind[last + 1] == [last]:
                last += 1
            found.update(range(first, last + 1))
        return found

    @functools.cached_property
    def _next(self) -> tuple[list[list[int]], list[list[int]]]:
        """What may run after each instruction, and before it."""
        index = {each.address: place for place, each in enumerate(self.code)}
        after: list[list[int]] = [[] for _ in self.code]
        before: list[list[int]] = [[] for _ in self.code]
        for place, each in enumerate(self.code):
            target = _TARGET.search(each.text)
            following = [index[int(target[1], 16)]] if target and int(target[1], 16) in index else []
            if place + 1 < len(self.code) and not _ENDS.match(each.text):
                following.append(place + 1)
            after[place] = following
            for other in following:
                before[other].append(place)
        return after, before


def _reached(place: int, following: Sequence[Sequence[int]]) -> set[int]:
    """All that a path of one step or more leads to."""
    found, open_ends = set[int](), [place]
    while open_ends:
        for other in following[open_ends.pop()]:
            if other not in found:
                found.add(other)
                open_ends.append(other)
    return found


def parse(text: str) -> Iterator[Function]:
    """Read what `cuobjdump -sass` writes."""
    architecture, name, code = "", "", list[Instruction]()
    for line in text.splitlines():
        if found := _INSTRUCTION.match(line):
            code.append(Instruction(int(found[1], 16), found[2]))
            continue
        starts = _ARCHITECTURE.match(line) or _FUNCTION.match(line)
        if starts and name:
            yield Function(architecture, name, tuple(code))
            name = ""
        if found := _ARCHITECTURE.match(line):
            architecture = found[1]
        elif found := _FUNCTION.match(line):
            name, code = found[1], []
    if name:
        yield Function(architecture, name, tuple(code))
