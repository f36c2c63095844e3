"""A translator so small that examples can train it at once."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pyrnn
from pyrnn.tasks.runs import make_job
from pyrnn.tasks.translation import TranslationRun


@cache
def tiny_translator() -> TranslationRun:
    """Characters to characters, after one step on three pairs; the same object at every call.

    Example:
        >>> sorted(tiny_translator().tokenizer.tokenize("two 2"))
        [' ', '2', 'o', 't', 'w']
    """
    settings = {"level": "character", "hidden_size": 8, "max_steps": 1, "validation_size": 1}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pairs.tsv")
        file.write_text("one\t1\ntwo\t2\nsix\t6\n", encoding="utf-8")
        job = make_job("translation", {"pairs": str(file), **settings})
        run = pyrnn.train.train(job, Path(folder, "run"))
    assert isinstance(run, TranslationRun)
    return run
