"""The attention stage: how exact it is, whether its bits repeat, and its time against torch's backends.

Accuracy comes first, on shapes of which float64 fits into memory. Then pyrnn and each backend of torch's
scaled_dot_product_attention take turns, and compiled FlexAttention where triton can be loaded. A backend that
refuses a case is named with its reason. Passes that the kernels do not have yet are left out.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pyrnn.bench import record
from pyrnn.bench.harness import paired_timing
from pyrnn.ops import scaled_dot_product_attention
from pyrnn.ops.attention import cuda
from tools.gpu_proof import rehearsal
from tools.gpu_proof.accuracy import share_of_allowed
from tools.gpu_proof.layers import healthy
from tools.gpu_proof.stages import orders
from tools.gpu_proof.timing import DeviceCandidate, repeats_for

REPEATS = 20
SECONDS = 0.1  # of timing for a case and a peer
RESERVE = 3.0  # seconds kept back for the end of the process
DROPOUT = 0.1

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
PEERS = ("torch's choice", *BACKENDS, "flex")

Run = Callable[[], list[Tensor]]


@dataclass(frozen=True)
class AttentionCase:
    """One call: variant is plain, bias, dropout or decode."""

    B: int
    H: int
    T: int
    S: int
    D: int
    causal: bool = False
    variant: str = "plain"
    mode: str = "infer"
    dtype: str = "bfloat16"

    def operands(self, device: str) -> list[Tensor]:
        """Query, key, value and, of the variant with a bias, that; leaves in training."""
        torch.manual_seed(0)
        shapes = [(self.B, self.H, length, self.D) for length in (self.T, self.S, self.S)]
        shapes += [(1, self.H, self.T, self.S)] if self.variant == "bias" else []
        made = [torch.randn(shape, device=device).to(getattr(torch, self.dtype)) for shape in shapes]
        return [tensor.requires_grad_(self.mode == "train") for tensor in made]

    @property
    def dropout(self) -> float:
        """Its probability."""
        return DROPOUT if self.variant == "dropout" else 0.0


#: 16k tokens in all, and 2048 features of all heads.
_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
TIMED = (
    *(
        AttentionCase(16384 // S, 2048 // D, S, S, D, causal, mode=mode)
        for S in _LENGTHS
        for D in (64, 128)
        for causal in (True, False)
        for mode in ("infer", "train")
    ),
    *(AttentionCase(16, 2048 // D, 1, 4096, D, variant="decode") for D in (64, 128)),
    *(
        AttentionCase(4, 16, 2048, 2048, 64, variant=variant, mode=mode)
        for variant in ("bias", "dropout")
        for mode in ("infer", "train")
    ),
)
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
)
REPEATED = (
    *(AttentionCase(1, 4, 8192, 8192, D, True, mode=mode) for D in (64, 128) for mode in ("infer", "train")),
    AttentionCase(1, 8, 1, 8192, 128, variant="decode"),
)
REHEARSED = (AttentionCase(1, 2, 21, 33, 24, True), AttentionCase(1, 2, 1, 270, 16, variant="decode"))


def has(mode: str) -> bool:
    """Whether the kernels in use make this pass."""
    return mode == "infer" or hasattr(cuda.module(), "attention_backward")


def runner(case: AttentionCase, attention: Callable[..., Tensor], operands: list[Tensor]) -> Run:
    """One step: the output and, in training, the gradients of all operands."""
    torch.manual_seed(1)
    gradient = torch.randn_like(operands[0]) if case.mode == "train" else None

    def run() -> list[Tensor]:
        bias = operands[3] if case.variant == "bias" else None
        with torch.set_grad_enabled(gradient is not None):
            out = attention(
                *operands[:3], attn_mask=bias, dropout_p=case.dropout, is_causal=case.causal and bias is None
            )
        return [out, *(torch.autograd.grad(out, operands, gradient) if gradient is not None else ())]

    return run


def pyrnns(*args: Any, **options: Any) -> Tensor:
    """The output of our operator."""
    out = scaled_dot_product_attention(*args, **options)
    assert isinstance(out, Tensor)
    return out


def check(case: AttentionCase, device: str, repeats: int, *, exact: bool) -> record.Row:
    """How far the results are from float64, beside torch's own; whether repetitions have the same bits."""
    operands = case.operands(device)
    ours = runner(case, pyrnns, operands)
    first, row, wrong = ours(), record.Row({"what": "check", **asdict(case)}), list[str]()
    if exact:
        wide = [tensor.detach().double().requires_grad_(case.mode == "train") for tensor in operands]
        with sdpa_kernel(SDPBackend.MATH):
            step = runner(case, F.scaled_dot_product_attention, wide)
            truth, theirs = step(), runner(case, F.scaled_dot_product_attention, operands)()
        if case.mode == "train":  # of the same gradient, which has the dtype of the operands
            truth = _exact_gradients(case, wide, operands)
        row["error_of_allowed"] = share_of_allowed(first, theirs, truth)
        if not row["error_of_allowed"] <= 1:
            wrong.append(f"an error is {row['error_of_allowed']:.3g} times what is allowed")
    if repeats:
        equal = 1 + sum(all(map(torch.equal, first, ours())) for _ in range(repeats - 1))
        row |= {"repeats": repeats, "equal": equal}
        wrong += [] if equal == repeats else [f"{repeats - equal} repetitions gave other bits"]
    return {**row, "outcome": "; ".join(wrong) or "right"}


def _exact_gradients(case: AttentionCase, wide: list[Tensor], operands: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(1)
    gradient = torch.randn_like(operands[0]).double()
    bias = wide[3] if case.variant == "bias" else None
    with sdpa_kernel(SDPBackend.MATH):
        out = F.scaled_dot_product_attention(
            *wide[:3], attn_mask=bias, is_causal=case.causal and bias is None
        )
    return [out, *torch.autograd.grad(out, wide, gradient)]


def peer(case: AttentionCase, name: str) -> Callable[..., Tensor]:
    """Torch's attention on one backend; raises ValueError where this machine or the case has none."""
    if name != "flex":
        return F.scaled_dot_product_attention
    if case.variant != "plain" or importlib.util.find_spec("triton") is None:
        raise ValueError("FlexAttention is compiled by triton, and timed on plain cases alone")
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    compiled = torch.compile(flex_attention)

    def causal(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return t >= s

    blocks = create_block_mask(causal, None, None, case.T, case.S) if case.causal else None
    return lambda query, key, value, **_: compiled(query, key, value, block_mask=blocks)


def measure(case: AttentionCase, name: str) -> record.Row:
    """One row: pyrnn and one peer in alternation, on the same operands; ValueError where the peer refuses."""
    operands = case.operands("cuda")
    allowed = [BACKENDS[name]] if name in BACKENDS else [*BACKENDS.values()]
    row: record.Row = {"what": "time", **asdict(case), "peer": name}
    with sdpa_kernel(allowed):
        runs = [runner(case, how, operands) for how in (pyrnns, peer(case, name))]
        try:
            runs[1]()
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        single = max(DeviceCandidate(run).timed() for run in runs for _ in range(2))
        repeats = repeats_for(single)
        ours, theirs = (DeviceCandidate(run, repeats=repeats) for run in runs)
        found = paired_timing(ours, theirs, seconds=SECONDS / repeats)
    figures: record.Row = {
        "pyrnn_s": asdict(found.ours),
        "peer_s": asdict(found.theirs),
        "ratio": found.ratio,
        "ratio_spread": asdict(found.ratios),
        "rounds": found.rounds,
    }
    if case.variant == "decode":  # keys and values are read once
        figures["bytes_per_second"] = sum(x.nbytes for x in operands[1:]) / found.ours.median
    return {**row, **figures}


def jobs(*, rehearsed: bool, device: str) -> Iterator[Callable[[], record.Row]]:
    """Everything, in order."""
    checked, repeated = (REHEARSED, REHEARSED[:1]) if rehearsed else (CHECKED, REPEATED)
    for case, repeats in (*((case, 0) for case in checked), *((case, REPEATS) for case in repeated)):
        if has(case.mode):
            yield lambda case=case, repeats=repeats: check(case, device, repeats, exact=not repeats)
    for case in () if rehearsed else TIMED:
        for name in PEERS if has(case.mode) else ():
            yield lambda case=case, name=name: measure(case, name)


def main() -> int:
    """Check and measure until the time is spent; 1 if a result is wrong."""
    told = orders()
    device = rehearsal.begin(told)
    ends, failed = time.monotonic() + told.seconds - RESERVE, False
    everything = [*jobs(rehearsed=told.rehearse is not None, device=device)]
    for number, job in enumerate(everything):
        if time.monotonic() >= ends:
            record.append(told.rows, {"left_out": len(everything) - number, "of": len(everything)})
            break
        try:
            row = job()
        except ValueError as error:
            row = {"refused": (str(error).splitlines() or ["?"])[0], "number": number}
        except RuntimeError as error:
            row = {"outcome": f"error: {error}", "number": number}
        failed = failed or row.get("outcome", "right") != "right"
        record.append(told.rows, row)
        print(*(f"{name} {value}" for name, value in row.items()), sep=", ", flush=True)
        if row.get("outcome", "").startswith("error") and device == "cuda" and not healthy():
            print("the device no longer answers: nothing after this can be measured", flush=True)
            break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
