"""What tasks have in common whose models hold vectors of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyrnn
from pyrnn.train.task import Task, Unknown

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.embeddings import WordVectors
    from pyrnn.embeddings.files import SelectedVectors
    from pyrnn.train.run_folder import Run


class WordTask(Task):
    """A task whose models may begin with word vectors from elsewhere, and may be asked for theirs."""

    def select_vectors(self, path: str, words: Sequence[str]) -> SelectedVectors:
        """As of `pyrnn.embeddings.select_vectors`; a run that learned words is a source, too."""
        source = pyrnn.tasks.open_word_vectors(path) if Path(path).is_dir() else path
        return pyrnn.embeddings.select_vectors(source, words)

    def word_vectors(self, run: Run, folder: Path) -> WordVectors:
        """The vectors that a trained run has of its words: those of the first of `word_tables`.

        Raises:
            ValueError: as `word_tables`.
        """
        table, words = next(iter(self.word_tables(run.job, folder).items()))
        return pyrnn.embeddings.WordVectors(words, run.model.get_parameter(table).detach())


def count_unknown(ids: Iterable[Tensor], unk_id: int | None) -> Unknown | None:
    """How many of the ids are the one that stands for unknown tokens; None: there is no such id.

    Example:
        >>> import torch
        >>> count_unknown([torch.tensor([2, 0]), torch.tensor([0])], unk_id=0)
        Unknown(tokens=2, total=3)
    """
    if unk_id is None:
        return None
    counts = [(int((part == unk_id).sum()), part.numel()) for part in ids]
    return Unknown(sum(unknown for unknown, _ in counts), sum(total for _, total in counts))
