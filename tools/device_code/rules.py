"""What the machine code of each kernel must hold, as a table, and the judge of it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from tools.device_code.sass import Function
from tools.device_code.spills import Kernel

_HALF = r"(?:__half|__nv_bfloat16)"
ATTENTION = r"attention::cuda::(?:forward|query_gradient|key_gradient)_kernel<"
HOPPER = r"attention::cuda::hopper_forward_kernel<"
CLUSTER = r"recurrence_kernel<.*ClusterExchange"
GRID = r"recurrence_kernel<.*GridExchange"
GRID_BARRIER = rf"{GRID}|grid_barrier"

HAS_CLUSTERS = r"sm_(?!80$)"
MMA = r"\bHMMA\.16816\.F32"
COPY = r"\bLDGSTS\b.*\.128\b"
LOAD = r"\bLDG\b"
WIDE_LOAD = r"\bLDG\.E\.128\b"
POLL = r"\bLDG\.E\.STRONG\.GPU R"  # a flag: 32 bits
ARRIVAL = r"\bREDG?\.E\.ADD\.STRONG\.GPU"
LOCAL = r"\b(?:LDL|STL)\b"
CALL = r"\bCALL\b"
#: A wait for all products of a warpgroup but the newest: with it scores are turned into weights beside them.
BESIDE = r"\bWARPGROUP\.DEPBAR\.LE gsb0, 0x1"


@dataclass(frozen=True)
class Rule:
    """Of the kernels whose names `kernels` finds; all but `architectures` are patterns of instructions.

    `needs` must occur and `forbids` must not, in the whole kernel or in the outermost loop around the
    first `loop` that is in one (the innermost with `inner`), less the lines around an instruction of
    `apart_from`. With `just_before` (`just_after`) each `needs` must have one among the `near` instructions
    ahead of (behind) it.
    """

    why: str
    kernels: str
    architectures: str = ""
    needs: str = ""
    forbids: str = ""
    loop: str = ""
    inner: bool = False
    apart_from: str = ""
    just_before: str = ""
    just_after: str = ""
    near: int = 8

    def complaints(self, function: Function) -> Iterator[str]:
        """What is wrong with a kernel that the rule is about."""
        scope = set(range(len(function.code)))
        if self.loop:
            loops = map(
                function.inner_loop_of if self.inner else function.loop_of, function.places(self.loop)
            )
            scope = next(filter(None, loops), set[int]())
            if not scope:
                yield f"no loop holds {self.loop}"
                return
        if self.apart_from:
            scope -= function.around(self.apart_from)
        needed = scope.intersection(function.places(self.needs)) if self.needs else set()
        if self.needs and not needed:
            yield f"{self.needs} is missing"
        if self.forbids and (found := sorted(scope.intersection(function.places(self.forbids)))):
            yield f"{function.code[found[0]].text} ({len(found)} of them)"
        for pattern, first, last in ((self.just_before, -self.near, 0), (self.just_after, 1, self.near + 1)):
            companions = function.places(pattern) if pattern else []
            alone = [place for place in needed if not any(first <= c - place < last for c in companions)]
            if pattern and alone:
                side = "ahead of" if pattern == self.just_before else "behind"
                yield f"no {pattern} {side} {function.code[min(alone)].text}"


RULES = (
    Rule("16-bit products run on tensor cores", rf"{ATTENTION}.*{_HALF}|{_HALF}.*GridExchange", needs=MMA),
    Rule("of a cluster, too", rf"{_HALF}.*ClusterExchange", HAS_CLUSTERS, needs=MMA),
    Rule("rows of tiles come by ldmatrix", rf"{ATTENTION}.*{_HALF}", needs=r"\bLDSM\.16\.M88\.4", loop=MMA),
    Rule("so do columns of the values", rf"{ATTENTION}.*{_HALF}", needs=r"\bLDSM\.16\.MT88\.4", loop=MMA),
    Rule("keys and values arrive by copies beside the products", ATTENTION, needs=COPY, loop=COPY),
    Rule("these copies share the loop of the products", rf"{ATTENTION}.*{_HALF}", needs=COPY, loop=MMA),
    Rule("nothing else is fetched in the plain loop", rf"{ATTENTION}.*true>", forbids=LOAD, loop=MMA),
    # The product for values that are no numbers is a call, for which sums pass through local memory.
    Rule("registers stay registers in that loop", ATTENTION, forbids=LOCAL, loop=COPY, apart_from=CALL),
    Rule("products of warpgroups", HOPPER, needs=r"\bHGMMA\.64x\d+x16\.F32", loop=BESIDE, inner=True),
    Rule("values are multiplied as they lie", HOPPER, needs=r"\bHGMMA\b.*\.tnspB", loop=BESIDE, inner=True),
    Rule("tiles are fetched by tensor maps alone", HOPPER, needs=r"\bUTMALDG\.4D", forbids=r"\bLDGSTS\b"),
    Rule("registers go to who multiplies", HOPPER, needs=r"\bUSETMAXREG\b"),
    Rule("who multiplies fetches nothing", rf"{HOPPER}.*true>", forbids=LOAD, loop=BESIDE, inner=True),
    Rule(
        "and its registers stay registers",
        rf"{HOPPER}.*true>",
        forbids=LOCAL,
        loop=BESIDE,
        inner=True,
        apart_from=CALL,
    ),
    Rule(
        "rows are read 16 bytes at a time", r"attention::cuda::delta_kernel<", needs=WIDE_LOAD, loop=WIDE_LOAD
    ),
    Rule("so are the parts of sums", r"split_sum_kernel<", needs=WIDE_LOAD, loop=WIDE_LOAD),
    Rule("the exchange is read past the first-level cache", GRID, needs=r"\bLDG\.E\.\d+\.STRONG\.GPU"),
    Rule("no exchanged number comes by the read-only path", GRID, forbids=r"\bLDG\.E\S*\.CONSTANT"),
    Rule("an arrival publishes what was written", GRID_BARRIER, needs=ARRIVAL, just_before=r"\bMEMBAR\b"),
    Rule(
        "a wait ends with an invalidation of the first-level cache",
        GRID_BARRIER,
        needs=r"\bCCTL\.IVALL",
        just_before=POLL,
        near=16,
    ),
    Rule("the barrier of a cluster is the hardware's", CLUSTER, HAS_CLUSTERS, needs=r"\bUCGABAR_ARV"),
)

#: Registers of a thread at most. No launch bound asks for as few.
REGISTERS = (
    (rf"{ATTENTION}.*Shape<64, 2, 4, 64>, true>", 224, "two blocks of 128 threads, and no spill in sight"),
    (HOPPER, 168, "a block of 384 threads, which then share them anew"),
    (r"attention::cuda::combine_kernel", 64, "eight blocks of 128 threads"),
    (r"replay_kernel|prepare_kernel", 64, "four blocks of 256 threads"),
)


def judge(functions: Iterable[Function], may_spill: Container[tuple[str, str]]) -> Iterator[str]:
    """A complaint for each rule that a kernel breaks, under readable names."""
    for function in functions:
        rules = [
            rule
            for rule in RULES
            if re.search(rule.kernels, function.name) and re.match(rule.architectures, function.architecture)
        ]
        in_order = (function.architecture, function.name) in may_spill
        if not in_order and not re.search(f"{ATTENTION}|{HOPPER}", function.name):
            rules.append(Rule("local memory is for declared spills", "", forbids=LOCAL))
        for rule in rules:
            for complaint in rule.complaints(function):
                yield f"{function.architecture} {function.name}: {rule.why}: {complaint}"


def too_many_registers(kernels: Iterable[Kernel]) -> Iterator[str]:
    """A complaint for each kernel of which fewer blocks stay on a multiprocessor than were meant to."""
    for kernel in kernels:
        for pattern, most, why in REGISTERS:
            if re.search(pattern, kernel.name) and kernel.registers > most:
                found = f"{kernel.registers} registers, {most} leave room for {why}"
                yield f"{kernel.architecture} {kernel.name}: {found}"


def without_kernels(kernels: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A complaint for each rule that no kernel is found by, of pairs of architecture and name.

    It would hold for ever. Kernels of 9.0a are not looked for where nothing was compiled for it.
    """
    found = list(kernels)
    known = [name for _, name in found]
    patterns = dict.fromkeys([*(rule.kernels for rule in RULES), *(each[0] for each in REGISTERS)])
    for pattern in patterns:
        if HOPPER in pattern and all(architecture != "sm_90a" for architecture, _ in found):
            continue
        if not any(re.search(pattern, name) for name in known):
            yield f"no kernel is called {pattern}: the rules of tools/device_code/rules.py are out of date"
