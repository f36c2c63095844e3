"""Greedy and beam search of a translator, against the same model on torch.nn and a beam written by hand.

Ours is `pyrnn.search.generate` or `beam_search` on a `pyrnn.models.Seq2Seq`: an LSTM with additive
attention, or a Transformer of three layers. Torch's is what its users write: an `nn.LSTMCell` and a step of
attention, or torch's functions with keys and values in buffers that are made once and reordered; log_softmax,
topk over all hypotheses of a source, and ended ones that are carried on with a probability of one. Both begin
with what the encoder gave, and write STEPS tokens for each of B sources: an LSTM's keys of the source belong
to the encoder, a Transformer's are made by the search. The weights are drawn, and EOS is unlikely: all
outputs have the same length, so that none of ours leaves the batch early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.seq2seq_by_hand import RecurrentByHand, TransformerByHand, search_by_hand
from pyrnn.bench.step import Step
from pyrnn.models import Seq2Seq, Seq2SeqConfig, Source
from pyrnn.search import SamplingConfig, SearchConfig, beam_search, generate, score_targets

STEPS = 25  # tokens of source and target
VOCABULARY, LAYERS, HEADS, WIDTH = 2000, 3, 4, 5
EOS, BEGIN = 0, 1
MODELS = {"lstm": "LSTM", "transformer": "Transformer"}
INCLUDES = {
    "lstm": "all steps of decoder and search; not: the encoder, keys of its outputs",
    "transformer": "keys of the encoder's outputs, all steps of decoder and search; not: the encoder",
}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    vocabulary: ClassVar[int] = VOCABULARY
    layers: ClassVar[int] = LAYERS  # of a Transformer
    heads: ClassVar[int] = HEADS

    model: str
    dtype: str
    mode: str
    variant: str  # "greedy" or "beam"
    B: int
    H: int

    @property
    def width(self) -> int:
        """Hypotheses of each source."""
        return WIDTH if self.variant == "beam" else 1

    def deterministic(self) -> Self:
        """The case itself: nothing is drawn."""
        return self

    def config(self) -> Seq2SeqConfig:
        """The model's sizes."""
        architecture: Any = self.model
        return Seq2SeqConfig(
            self.vocabulary,
            architecture=architecture,
            source_vocabulary_size=self.vocabulary,
            embedding_size=self.H,
            hidden_size=self.H,
            num_layers=self.layers if self.model == "transformer" else 1,
            num_heads=self.heads,
        )

    def operations(self) -> int:
        """Of the products of all steps, with all hypotheses from the first; the encoder's aside."""
        H, source = self.H, 0
        if self.model == "transformer":  # self-attention, queries and outputs of the other, the network
            step = self.layers * (2 * (4 + 2 + 8) * H**2 + 4 * H * (STEPS + (STEPS + 1) // 2))
            source = self.layers * 2 * 2 * H**2 * STEPS  # keys and values
        else:  # the cell with input feeding, the query, scores and context, the combination
            step = 2 * (4 * 3 + 1 + 2) * H**2 + 4 * H * STEPS
        return self.B * (self.width * STEPS * (step + 2 * H * self.vocabulary) + source)

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        return {
            "steps": STEPS,
            "vocabulary": self.vocabulary,
            "width": self.width,
            "includes": INCLUDES[self.model],
        }

    def meaningful(self) -> bool:
        """Nothing trains here."""
        return self.mode == "infer"

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.model} {self.dtype} {self.variant} {self.B}x{self.H}"


def make_model(case: Case) -> Seq2Seq:
    """A model whose outputs depend on their sources, and do not end early."""
    torch.manual_seed(0)
    model = Seq2Seq(case.config()).eval()
    with torch.no_grad():
        model.projection.weight.mul_(4)
        model.projection.bias[EOS] = -100
    return model.to(getattr(torch, case.dtype))


def make_source(case: Case) -> Source:
    """Sentences of STEPS random words."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(2, case.vocabulary, (STEPS, case.B), generator=generator)
    return Source(tokens, torch.full((case.B,), STEPS))


def written(model: Seq2Seq, case: Case, state: Any) -> Tensor:
    """What our search finds [B, STEPS], from the state that `model.start` gave."""
    prompts = [torch.tensor([BEGIN])] * case.B
    if case.width == 1:
        config = SamplingConfig(temperature=0, max_tokens=STEPS, stop_at_eos=True)
        return torch.stack(list(generate(model, prompts, config, state=state, eos_id=EOS)), 1)
    search = SearchConfig(case.width, max_tokens=STEPS)
    found = beam_search(model, prompts, search, eos_id=EOS, state=state)
    return torch.tensor([best.tokens for [best] in found])


def sides(case: Case) -> tuple[Step, Step]:
    """Both search the same sources."""
    model, source = make_model(case), make_source(case)
    with torch.no_grad():
        state = model.start(source)
        by_hand: Any = (TransformerByHand if case.model == "transformer" else RecurrentByHand)(model, source)

    def theirs() -> Tensor:
        return search_by_hand(by_hand, case.B, case.width, STEPS, begin=BEGIN, eos=EOS)

    return Search(model, state, lambda: written(model, case, state)), Search(model, state, theirs)


class Search(Step):
    """A search of outputs [B, STEPS], compared by what the model says of them."""

    def __init__(self, model: Seq2Seq, state: Any, search: Callable[[], Tensor]) -> None:
        super().__init__(lambda: [search()], [()], gradient=None)
        self.model, self.state = model, state

    def compared(self) -> list[Tensor]:
        """Log-probabilities [B] of the outputs: of equally good ones either side may find another."""
        [outputs] = self.results
        targets = F.pad(outputs, (1, 0), value=BEGIN)
        with torch.no_grad():
            return [score_targets(self.model, self.state, targets).to(self.model.projection.weight.dtype)]


LAYOUT = report.Layout(
    "seq2seq",
    across="model",
    names=MODELS,
    shape=("B", "H"),
    torch="a loop over torch.nn, with a batched beam",
    variants={"beam": f"beam of {WIDTH}"},
    note=f"{STEPS} tokens, a vocabulary of {VOCABULARY}; an LSTM of one layer, a Transformer of {LAYERS}.",
)
SHAPES = tuple((B, H) for H in (256, 512) for B in (1, 16, 64))
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes={"greedy": SHAPES, "beam": SHAPES},
    quick={(1, 256), (16, 256)},
    page=record.ROOT / "docs" / "search.md",
    meaningful=Case.meaningful,
    threads=1,
    memory=True,
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
