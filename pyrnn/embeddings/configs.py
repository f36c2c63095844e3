"""Settings of word vectors; no torch is imported, so that the command line lists them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pyrnn._configuration import require_choices, require_range

#: The file of a folder of word vectors.
VECTORS = "vectors.safetensors"

#: Files of other programs; `pyrnn.embeddings.formats` describes them.
Format = Literal["word2vec", "word2vec-binary", "glove"]
FORMATS: tuple[Format, ...] = get_args(Format)

#: Files that can be read: a model of the program fastText, too.
FileFormat = Literal["word2vec", "word2vec-binary", "glove", "fasttext"]

#: What a conversion writes: a folder as of `WordVectors.save`, or a file.
Target = Literal["folder", "word2vec", "word2vec-binary", "glove"]

#: How an analogy is scored.
AnalogyMethod = Literal["add", "multiply"]


@dataclass(frozen=True)
class Reading:
    """How a file of vectors is read.

    Args:
        format: its format, found by its first lines unless given.
        limit: read so many words at the most; all unless given.
        invalid: what becomes of bytes that are not UTF-8: "refuse", or "replace" by the character for that.
        duplicates: what becomes of a word that came before: "refuse", or "skip".

    Raises:
        ValueError: an unknown value, or a limit below one.

    Example:
        >>> Reading(limit=1000).format is None
        True
    """

    format: FileFormat | None = None
    limit: int | None = None
    invalid: Literal["refuse", "replace"] = "refuse"
    duplicates: Literal["refuse", "skip"] = "refuse"

    def __post_init__(self) -> None:
        require_choices(self, ("invalid", "duplicates"))
        if self.format not in (None, *get_args(FileFormat)):
            raise ValueError(f"format must be one of {', '.join(get_args(FileFormat))}, got {self.format!r}")
        if self.limit is not None:
            require_range(self, ("limit",), least=1)


@dataclass(frozen=True)
class Judging:
    """Which words are asked about, and what becomes of questions with others; defaults as those of gensim.

    Args:
        restrict_vocab: only so many of the first words are known, and answers are looked for among them.
        case_insensitive: words are compared in capitals; of several that are then equal the first counts.
        dummy_for_unknown: a question with an unknown word counts as answered wrong, such a pair as of
            similarity 0; otherwise they are left out, and counted.

    Raises:
        ValueError: `restrict_vocab` below one.

    Example:
        >>> Judging().restrict_vocab
        300000
    """

    restrict_vocab: int = 300_000
    case_insensitive: bool = True
    dummy_for_unknown: bool = False

    def __post_init__(self) -> None:
        require_range(self, ("restrict_vocab",), least=1)
