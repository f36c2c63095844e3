"""Loss of a language model on a text."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pyrnn.losses import sequence_cross_entropy
from pyrnn.models import LanguageModel, State
from pyrnn.text import StreamBatches, TokenFile, encode_file, open_tokens
from pyrnn.train.run_folder import Run, text_path


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats a symbol over `symbols` predicted symbols, of which `unknown` are <unk>."""

    loss: float
    symbols: int
    unknown: int = 0

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that overflows."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits(self) -> float:
        """The loss in bits a symbol."""
        return self.loss / math.log(2)


def validation_batches(ids: Tensor | TokenFile, streams: int, window: int) -> StreamBatches:
    """Batches of a text to validate on: fewer streams and steps where it is short, since all of it counts.

    Raises:
        ValueError: the text has fewer than two symbols.
    """
    pairs = len(ids) - 1
    streams = max(1, min(streams, pairs // window))
    return StreamBatches(ids, batch_size=streams, window=max(1, min(window, pairs)))


@torch.no_grad()
def evaluate(model: LanguageModel, batches: StreamBatches) -> Evaluation:
    """Evaluate every pair of `batches` once, without dropout, the state carried from window to window.

    The model is left in the mode, training or not, in which it came.
    """
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    total = 0.0
    state: State | None = None
    for inputs, targets in batches:
        logits, state = model(inputs.to(device), state)
        total += sequence_cross_entropy(logits, targets.to(device), reduction="sum").item()
    model.train(was_training)
    return Evaluation(loss=total / batches.pairs, symbols=batches.pairs)


def evaluate_file(run: Run, text: str | Path, *, streams: int = 8, window: int = 256) -> Evaluation:
    """Evaluate a run's model on a text of any length.

    Args:
        run: its model and tokenizer.
        text: a file (UTF-8, plain or gzip), or "shakespeare" for the one that comes with the package.
        streams: parallel streams, each of which starts once from a zero state; fewer for a short text.
        window: steps read at once; it does not change the loss.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the text is empty, not text, shorter than two symbols, or has characters that the model's
            vocabulary lacks.
    """
    with tempfile.TemporaryDirectory(prefix="pyrnn-evaluate-") as folder:
        tokens = Path(folder) / "tokens.bin"
        encode_file(text_path(text), run.tokenizer, tokens)
        ids = open_tokens(tokens, len(run.tokenizer))
        result = evaluate(run.model, validation_batches(ids, streams, window))
        unk_id = run.tokenizer.unk_id
        unknown = 0 if unk_id is None else sum(int((block == unk_id).sum()) for block in ids[1:].blocks())
        return replace(result, unknown=unknown)
