"""The cases of the attention stage, the most telling ones first: the stage stops when its time is spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from pyrnn.bench import record

DROPOUT = 0.1

#: Seconds that must be left before a job begins: compilers are slow, and so is a backend that stores scores.
NEEDS, NEEDS_OF = 1.5, {"flex": 30.0, "math": 6.0}

#: What one line says of a case, in order.
SAID = ("variant", "mode", "B", "H", "T", "S", "D")


@dataclass(frozen=True)
class AttentionCase:
    """One call: variant is plain, bias, dropout or decode; kernel a forced one, "" the plan's choice."""

    B: int
    H: int
    T: int
    S: int
    D: int
    causal: bool = False
    variant: str = "plain"
    mode: str = "infer"
    dtype: str = "bfloat16"
    kernel: str = ""

    def operands(self, device: str) -> list[Tensor]:
        """Query, key, value and, of the variant with a bias, that; leaves in training."""
        torch.manual_seed(0)
        shapes = [(self.B, self.H, length, self.D) for length in (self.T, self.S, self.S)]
        shapes += [(1, self.H, self.T, self.S)] if self.variant == "bias" else []
        made = [torch.randn(shape, device=device).to(self.torch_dtype) for shape in shapes]
        return [tensor.requires_grad_(self.mode == "train") for tensor in made]

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the operands."""
        return getattr(torch, self.dtype)

    @property
    def dropout(self) -> float:
        """Its probability."""
        return DROPOUT if self.variant == "dropout" else 0.0


def said(row: record.Row) -> str:
    """The case of a row in words."""
    values = (f"{name} {row[name]}" if len(name) == 1 else str(row[name]) for name in SAID)
    forced = f", kernel {row['kernel']}" if row.get("kernel") else ""
    return f"{' '.join(values)}{' causal' if row['causal'] else ''} {row['dtype']}{forced}"


@dataclass(frozen=True)
class Job:
    """A check of a case in `runs` runs, against float64 where it is one; or its time against a peer's."""

    case: AttentionCase
    peer: str = ""  # none in a check
    runs: int = 1

    def row(self) -> record.Row:
        """What every row of it says."""
        if self.peer:
            return {"what": "time", **asdict(self.case), "peer": self.peer}
        return {"what": "check", **asdict(self.case)}

    def __str__(self) -> str:
        """For progress, and for what is left out."""
        case = said(asdict(self.case))
        if self.peer:
            return f"{case} against {self.peer}"
        return f"{case}, {self.runs} times" if self.runs > 1 else case

    @property
    def needs(self) -> float:
        """Seconds that must be left before it begins."""
        return NEEDS_OF.get(self.peer, NEEDS)


# ---- checks ----------------------------------------------------------------------------------------

CHECKED = (
    *(
        AttentionCase(1, 2, S, S, D, causal, variant, mode)
        for S in (512, 4096)
        for D in (64, 128)
        for causal in (True, False)
        for variant in ("plain", "bias")
        for mode in ("infer", "train")
    ),
    AttentionCase(16, 16, 1, 4096, 128, variant="decode"),
    AttentionCase(1, 2, 513, 777, 40),
    *(AttentionCase(1, 2, 513, 777, 64, True, "dropout", mode) for mode in ("infer", "train")),
    *(
        AttentionCase(1, 2, S, S, D, causal, kernel="ampere")
        for S in (512, 4096)
        for D in (64, 128)
        for causal in (True, False)
    ),
)
REPEATED = (
    *(AttentionCase(1, 4, 8192, 8192, D, True, mode=mode) for D in (64, 128) for mode in ("infer", "train")),
    *(AttentionCase(1, 4, 8192, 8192, D, True, kernel="ampere") for D in (64, 128)),
    AttentionCase(1, 8, 1, 8192, 128, variant="decode"),
)
#: What stands for them where the kernels are emulated.
REHEARSED = (
    AttentionCase(1, 2, 21, 33, 24, True),
    AttentionCase(1, 2, 21, 33, 24, True, kernel="ampere"),
    AttentionCase(1, 2, 1, 270, 16, variant="decode"),
    AttentionCase(1, 2, 19, 21, 16, True, "bias", "train"),
    AttentionCase(1, 2, 17, 18, 8, False, "dropout", "train"),
)
REPEATS = 20


def checks(*, rehearsed: bool) -> list[Job]:
    """All checks."""
    checked, repeated = (REHEARSED, REHEARSED[:1]) if rehearsed else (CHECKED, REPEATED)
    return [*map(Job, checked), *(Job(case, runs=REPEATS) for case in repeated)]


# ---- times -----------------------------------------------------------------------------------------

#: Ours of compute capability 8.0, beside the plan's choice: the same one on devices other than 9.0.
OTHER_KERNEL = "ampere"
PEERS = ("torch's choice", "flash", "cudnn", "efficient", "math")

SPECIAL = (
    *(AttentionCase(16, 2048 // D, 1, 4096, D, variant="decode") for D in (64, 128)),
    *(
        AttentionCase(4, 16, 2048, 2048, 64, variant=variant, mode=mode)
        for variant in ("bias", "dropout")
        for mode in ("infer", "train")
    ),
)
#: 16k tokens in all, and 2048 features of all heads; middling lengths first, the longest last.
PLAIN = tuple(
    AttentionCase(16384 // S, 2048 // D, S, S, D, causal, mode=mode)
    for S in (2048, 512, 4096, 1024, 8192, 16384)
    for D in (64, 128)
    for causal in (True, False)
    for mode in ("infer", "train")
)
FLEX = tuple(
    replace(PLAIN[0], D=D, H=2048 // D, causal=causal, mode=mode)
    for mode in ("infer", "train")
    for D, causal in ((64, True), (128, False))
)


def times() -> list[Job]:
    """All comparisons: special cases with everyone, our kernels, plain ones with the fast backends, the rest.

    Compilation goes before what is least worth knowing, and is left out when time is short.
    """
    fast = ("flash", "cudnn")
    return [
        *(Job(case, peer) for case in SPECIAL for peer in PEERS),
        *(Job(case, OTHER_KERNEL) for case in PLAIN if case.mode == "infer" and case.S <= 4096),
        *(Job(case, peer) for case in PLAIN for peer in fast),
        *(Job(case, "flex") for case in FLEX),
        *(Job(case, peer) for case in PLAIN for peer in PEERS if peer not in fast),
    ]
