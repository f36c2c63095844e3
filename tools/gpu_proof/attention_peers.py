"""Torch's attention on each of its backends, and what it says where it refuses a case."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend

from tools.gpu_proof.attention_cases import AttentionCase

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}

#: The output for query, key, value and, where the case has one, a bias.
Attention = Callable[..., Tensor]


class Refused(Exception):
    """A peer does not take a case; the text is its reason."""


@contextmanager
def refusals(name: str) -> Generator[None, None, None]:
    """Turn what a peer raises into `Refused`; only the peer may run inside.

    A backend refuses by a RuntimeError whose reasons are warnings; a compiler may raise anything.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except Exception as error:
            if not (_not_compiled(error) if name == "flex" else isinstance(error, RuntimeError)):
                raise
            raise Refused(_reason(error, (str(each.message) for each in caught))) from error


def _not_compiled(error: Exception) -> bool:
    """Whether a compiler gave up on a case, and not on any further compilation."""
    from torch._dynamo.exc import FailOnRecompileLimitHit

    return not isinstance(error, FailOnRecompileLimitHit)


def _reason(error: Exception, warned: Iterable[str]) -> str:
    """First lines, each once, without the places in torch's sources."""
    lines = [(text.splitlines() or [""])[0] for text in (str(error) or type(error).__name__, *warned)]
    said = dict.fromkeys(line.partition(" (Triggered internally")[0].strip() for line in lines)
    return " | ".join(filter(None, said))[:1000]


def merged(case: AttentionCase, bias: Tensor) -> Tensor:
    """The bias and what is not causal in one mask: torch takes only one of the two."""
    if not case.causal:
        return bias
    visible = torch.ones(case.T, case.S, dtype=torch.bool, device=bias.device).tril()
    return bias.masked_fill(~visible, -torch.inf)


def torchs(case: AttentionCase) -> Attention:
    """Torch's operator, on whichever backend is allowed around the call."""

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        mask = None if bias is None else merged(case, bias)
        return F.scaled_dot_product_attention(
            query, key, value, mask, dropout_p=case.dropout, is_causal=case.causal and bias is None
        )

    return attend


def flex(case: AttentionCase, device: str) -> Attention:
    """Compiled FlexAttention; raises where this machine or the case has none.

    All compilations of it share one code object, and one too many would run uncompiled: each case begins
    anew, and reaching that limit is an error (`fullgraph`, and the setting).
    """
    if case.variant != "plain":
        raise RuntimeError("FlexAttention is timed on plain cases alone")
    if importlib.util.find_spec("triton") is None:
        raise RuntimeError("FlexAttention is compiled by triton, which is not installed")
    import torch._dynamo.config
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch._dynamo.reset()
    if hasattr(torch._dynamo.config, "fail_on_recompile_limit_hit"):
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    compiled = torch.compile(flex_attention, fullgraph=True)

    def causal(b: Tensor, h: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return t >= s

    blocks = create_block_mask(causal, None, None, case.T, case.S, device) if case.causal else None

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = compiled(query, key, value, block_mask=blocks)
        assert isinstance(out, Tensor)
        return out

    return attend


def peer(case: AttentionCase, name: str, device: str) -> Attention:
    """The peer of this name."""
    return flex(case, device) if name == "flex" else torchs(case)
