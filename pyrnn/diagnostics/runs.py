"""Gradient flow of trained runs, or of fresh cells, on a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from pyrnn.corpora import SHAKESPEARE, text_paths
from pyrnn.data import TokenFile, windows
from pyrnn.diagnostics.gradient_flow import GradientFlow, compare_cells, fresh_cells, gradient_flow
from pyrnn.models import LanguageModelConfig
from pyrnn.tasks import load_run
from pyrnn.tasks.language_model import TextRun, run_ids
from pyrnn.text import Source, Tokenizer, read_text, spool, train_tokenizer
from pyrnn.train import labels

_MOST_IDS = 1 << 20


def gradient_flows(
    runs: Sequence[str | Path], text: Source | None = None, *, lags: int = 100, sequences: int = 16
) -> dict[str, GradientFlow]:
    """How far back each run's model learns: its gradient's norm against the time lag, on a text.

    Args:
        runs: folders of training runs; without any, fresh one-layer RNN, GRU and LSTM models stand in.
        text: a file, a folder, or "shakespeare" for the one that comes with the package; several are joined.
            None takes each run's own validation text, and for fresh models the one of the package.
        lags: K, steps back from the loss.
        sequences: B, from places spread evenly over the text.

    Returns:
        A flow for each run, by its folder's name (the path where two share one).

    Raises:
        FileNotFoundError: a run or the text is not there.
        ValueError: as `load_run` and `read_text`, or the text is too short.
    """
    with spool() as reusable:  # each run reads the text, which may be a pipe
        if not runs:
            files = reusable(text_paths(text or SHAKESPEARE))
            tokenizer = train_tokenizer(lambda: read_text(files), level="character")
            models = fresh_cells(LanguageModelConfig(len(tokenizer), num_layers=1))
            input, targets = _sequences(_first_ids(files, tokenizer), lags, sequences)
            return compare_cells(models, input, targets=targets, lags=range(lags))
        flows = {}
        for run, label in zip(runs, labels(runs), strict=True):
            loaded = cast(TextRun, load_run(run, verb="score"))
            if text is None:
                ids = run_ids(loaded.job, Path(run))[1]
            else:
                ids = _first_ids(reusable(text_paths(text)), loaded.tokenizer)
            input, targets = _sequences(ids, lags, sequences)
            flows[label] = gradient_flow(loaded.model, input, targets=targets, lags=range(lags))
    return flows


def _first_ids(text: Source, tokenizer: Tokenizer) -> Tensor:
    """Of the text's beginning: enough for any picture."""
    ids: list[Tensor] = []
    for chunk in read_text(text):
        ids.append(tokenizer.encode(chunk))
        if sum(map(len, ids)) >= _MOST_IDS:
            break
    return torch.cat(ids)


def _sequences(ids: Tensor | TokenFile, lags: int, sequences: int) -> tuple[Tensor, Tensor]:
    """Input [T, B] and the token after each last one [B]."""
    steps = lags + 1
    if len(ids) < steps + sequences:
        raise ValueError(
            f"the text has {len(ids)} tokens, too few for {sequences} sequences of {steps}; "
            "give a longer text or fewer lags"
        )
    starts = torch.linspace(0, len(ids) - steps - 1, sequences).long()
    rows = windows(ids, starts, steps + 1).long()
    return rows[:-1], rows[-1]
