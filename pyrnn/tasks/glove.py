"""What the task "word-vectors" does where its model is "glove": counts of pairs in the place of a text."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyrnn

if TYPE_CHECKING:
    from pyrnn.data import TokenFile
    from pyrnn.embeddings import Cooccurrences, PairBatches
    from pyrnn.train.job import Job

PAIRS = "pairs.bin"


def check_settings(job: Job) -> None:
    """Refuse settings of a validation, for all pairs are judged, and numbers out of their range.

    Raises:
        ValueError: as it says.
    """
    model = job.model
    pyrnn.embeddings.GloveConfig(x_max=model.x_max, alpha=model.alpha, learning_rate=job.train.learning_rate)
    for name in ("validation_text", "validation_fraction"):
        if name in job.given["data"] and getattr(job.data, name) != getattr(type(job.data)(), name):
            raise ValueError(
                f"{name} is no setting of glove, which is judged on all of its pairs: leave it out"
            )


def count_pairs(ids: TokenFile, to: Path, job: Job, vocabulary_size: int) -> Cooccurrences:
    """Count the pairs of a text into a file.

    Raises:
        ValueError: no two words stand in one sentence.
        OSError: there is no room.
    """
    return pyrnn.embeddings.count_cooccurrences(
        ids.blocks(),
        to,
        vocabulary_size=vocabulary_size,
        window=job.model.window,
        sides=job.model.sides,
        weighting=job.model.weighting,
        memory_mib=job.data.memory_mib,
    )


def pair_batches(folder: Path, job: Job) -> PairBatches:
    """Blocks of the pairs that were counted into a folder.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged.
    """
    pairs = pyrnn.embeddings.Cooccurrences(folder / PAIRS, job.model.vocabulary_size)
    return pyrnn.embeddings.PairBatches(pairs, seed=job.train.seed, block=job.train.batch_size)


def pairs_of(ids: TokenFile, job: Job) -> PairBatches:
    """The pairs of another text, in a file that goes with them."""
    with tempfile.TemporaryDirectory() as folder:
        count_pairs(ids, Path(folder, PAIRS), job, job.model.vocabulary_size)
        return pair_batches(Path(folder), job)
