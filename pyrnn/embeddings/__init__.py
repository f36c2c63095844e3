"""Word vectors: learned, kept, asked and judged."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.embeddings.neighbours import Neighbour as Neighbour
    from pyrnn.embeddings.spelling import UnknownWord as UnknownWord
    from pyrnn.embeddings.vectors import WordVectors as WordVectors
    from pyrnn.embeddings.words import WordList as WordList

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "neighbours": ["Neighbour"],
        "spelling": ["UnknownWord"],
        "vectors": ["WordVectors"],
        "words": ["WordList"],
    },
)
