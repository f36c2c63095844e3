"""A language model that writes token after token, against the same model on torch.nn.

Ours is a step of `pyrnn.models.LanguageModel` as `pyrnn.search.generate` makes it; torch's is written by
hand: `nn.LSTM` and the like with the state handed on, or the functions of a transformer with a cache of keys
and values that is allocated once. Both give the logits of the next token; drawing it is left out, for it is
torch's on both sides. The models are those of `pyrnn train language-model`: two layers, the given width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.overhead import Calls
from pyrnn.bench.recurrent import GATES
from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.nn import frozen_weights
from pyrnn.search.decoder import prefill

VOCABULARY, LAYERS, PROMPT = 65, 2, 200
MODELS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "transformer": "transformer"}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    model: str
    dtype: str
    mode: str
    variant: str
    B: int
    H: int

    @property
    def trains(self) -> bool:
        """No: models write without gradients."""
        return False

    @property
    def calls(self) -> int:
        """Tokens in a row, of one timing."""
        return 32

    def deterministic(self) -> Self:
        """The case itself: nothing is drawn."""
        return self

    def config(self) -> LanguageModelConfig:
        """The model's sizes."""
        architecture: Any = self.model
        return LanguageModelConfig(
            VOCABULARY,
            architecture=architecture,
            hidden_size=self.H,
            embedding_size=self.H,
            num_layers=LAYERS,
        )

    def operations(self) -> int:
        """Of one token of each sequence."""
        if self.model == "transformer":
            keys = self.config().context + 1
            layer = 2 * 12 * self.H**2 + 4 * keys * self.H
        else:
            layer = 4 * GATES[self.model] * self.H**2
        return self.B * (LAYERS * layer + 2 * self.H * VOCABULARY)

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        return {
            "calls": self.calls,
            "layers": LAYERS,
            "prompt": PROMPT,
            "includes": "logits of the next token from ids; not: reading the prompt, drawing a token",
        }

    def meaningful(self) -> bool:
        """Nothing trains here."""
        return self.mode == "infer"

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.model} {self.dtype} {self.B}x{self.H}"


def sides(case: Case) -> tuple[Calls, Calls]:
    """Both write the same tokens behind the same prompt."""
    torch.manual_seed(0)
    model = LanguageModel(case.config()).to(getattr(torch, case.dtype)).eval()
    generator = torch.Generator().manual_seed(1)
    prompt, tokens = (
        torch.randint(VOCABULARY, (case.B, count), generator=generator) for count in (PROMPT, case.calls)
    )
    by_hand = _TransformerByHand(model) if case.model == "transformer" else _RecurrentByHand(case, model)
    return tuple(_calls(case, prompt, tokens, side) for side in (_Ours(model), by_hand))  # type: ignore[return-value]


class _Ours:
    """The steps of `generate`."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.frozen = model, frozen_weights(model)
        self.state: Any = None

    def read(self, prompt: Tensor) -> None:
        self.state = prefill(self.model, prompt, self.model.start()).state

    def step(self, tokens: Tensor) -> Tensor:
        with self.frozen:
            logits, self.state, _ = self.model.step(tokens, self.state)
        return logits


class _RecurrentByHand:
    """torch's layers of the same parameters, with the state handed on."""

    def __init__(self, case: Case, model: LanguageModel) -> None:
        other = LanguageModel(case.config(), backend="torch").to(getattr(torch, case.dtype)).eval()
        other.load_state_dict(model.state_dict())
        self.embedding, self.layers, self.projection = other.embedding, other.recurrent, other.projection
        self.state: Any = None

    def read(self, prompt: Tensor) -> None:
        assert self.embedding is not None
        self.state = self.layers(self.embedding(prompt.T))[1]

    def step(self, tokens: Tensor) -> Tensor:
        assert self.embedding is not None
        output, self.state = self.layers(self.embedding(tokens.unsqueeze(0)), self.state)
        return self.projection(output).squeeze(0)


class _TransformerByHand:
    """torch's functions on the same parameters; keys and values go into buffers that are made once."""

    def __init__(self, model: LanguageModel) -> None:
        self.embedding: Any = model.embedding
        self.encoder: Any = model.transformer.encoder
        self.projection, self.context = model.projection, model.config.context
        attention = self.encoder.layers[0].self_attn
        self.heads, slopes = attention.num_heads, attention._slopes
        distance = torch.arange(self.context, -1, -1)
        dtype = model.projection.weight.dtype
        self.bias = (-slopes[:, None] * distance).to(dtype)[None, :, None]  # [1, H, 1, C + 1]
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.filled = 0

    def read(self, prompt: Tensor) -> None:
        N, T = prompt.shape
        width = self.projection.weight.shape[1]
        shape = (N, self.heads, T + 4 * self.context, width // self.heads)
        self.keys = [torch.empty(shape, dtype=self.bias.dtype) for _ in self.encoder.layers]
        self.values = [torch.empty_like(keys) for keys in self.keys]
        self.filled = 0
        for token in prompt.T:
            self.step(token)

    def step(self, tokens: Tensor) -> Tensor:
        x, N, n = self.embedding(tokens), len(tokens), self.filled
        seen = slice(max(0, n - self.context), n + 1)
        bias = self.bias[..., self.context + seen.start - n :]
        for layer, keys, values in zip(self.encoder.layers, self.keys, self.values, strict=True):
            attention, width = layer.self_attn, x.shape[1:]
            y = F.layer_norm(x, width, layer.norm1.weight, layer.norm1.bias)
            y = F.linear(y, attention.in_proj_weight, attention.in_proj_bias)
            q, keys[:, :, n], values[:, :, n] = y.view(N, 3, self.heads, -1).unbind(1)
            y = F.scaled_dot_product_attention(q.unsqueeze(2), keys[:, :, seen], values[:, :, seen], bias)
            x = x + F.linear(y.flatten(1), attention.out_proj.weight, attention.out_proj.bias)
            y = F.layer_norm(x, width, layer.norm2.weight, layer.norm2.bias)
            y = F.gelu(F.linear(y, layer.linear1.weight, layer.linear1.bias))
            x = x + F.linear(y, layer.linear2.weight, layer.linear2.bias)
        self.filled += 1
        return self.projection(self.encoder.norm(x))


def _calls(case: Case, prompt: Tensor, tokens: Tensor, side: Any) -> Calls:
    """One token of each sequence after another, of which the logits of the last are kept."""
    columns, position = tokens.unbind(1), 0

    def start() -> None:
        nonlocal position
        position = 0
        with torch.no_grad():
            side.read(prompt)

    def forward() -> Sequence[Tensor]:
        nonlocal position
        logits = side.step(columns[position])
        position = (position + 1) % case.calls
        return [logits]

    step: Callable[..., Sequence[Tensor]] = forward
    return Calls(case, start, forward=step, inputs=[()], gradient=None)  # type: ignore[arg-type]


LAYOUT = report.Layout(
    "generation",
    across="model",
    names=MODELS,
    shape=("B", "H"),
    note=f"{LAYERS} layers, a vocabulary of {VOCABULARY}; a transformer sees 129 tokens.",
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes={"plain": tuple((B, H) for H in (128, 256, 512) for B in (1, 4, 16))},
    quick={(1, 128)},
    page=record.ROOT / "docs" / "small-calls.md",
    meaningful=Case.meaningful,
    threads=1,
    processor_time=True,
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
