"""pyrnn score: how likely a model finds sentences."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pyrnn.search import score as score_sentences
from pyrnn.train import load_run

_AT_ONCE = 1024  # sentences: output appears while a long input is still being read


def score(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
) -> None:
    """Read sentences from standard input, one a line, and print each one's log-probability.

    \b
      printf 'to be or not to be\\nbe not or to be to\\n' | pyrnn score runs/book

    The columns, separated by tabs: log-probability in nats, nats a symbol, perplexity, symbols scored,
    unknown symbols, sentence. Empty lines are left out.
    """
    loaded = load_run(run)
    waiting: list[str] = []
    seen = False

    def flush() -> None:
        for sentence, one in zip(
            waiting, score_sentences(loaded.model, loaded.tokenizer, waiting), strict=True
        ):
            numbers = f"{one.log_probability:.4f}\t{one.per_symbol:.4f}\t{one.perplexity:.2f}"
            print(f"{numbers}\t{one.symbols}\t{one.unknown}\t{sentence}")
        waiting.clear()

    for line in sys.stdin:
        if sentence := line.strip("\r\n"):
            seen = True
            waiting.append(sentence)
        if len(waiting) == _AT_ONCE:
            flush()
    if not seen:
        raise ValueError("standard input has no sentences: give one a line")
    if waiting:
        flush()
