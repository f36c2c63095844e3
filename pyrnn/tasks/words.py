"""What tasks have in common whose models hold vectors of words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyrnn
from pyrnn.train.task import Task

if TYPE_CHECKING:
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
