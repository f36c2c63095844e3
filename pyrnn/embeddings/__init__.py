"""Word vectors: learned, kept, asked and judged."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.embeddings.cooccurrence import PAIR as PAIR
    from pyrnn.embeddings.cooccurrence import Cooccurrences as Cooccurrences
    from pyrnn.embeddings.cooccurrence import PairBatches as PairBatches
    from pyrnn.embeddings.cooccurrence import count_cooccurrences as count_cooccurrences
    from pyrnn.embeddings.glove import Glove as Glove
    from pyrnn.embeddings.glove import GloveConfig as GloveConfig

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "cooccurrence": ["PAIR", "Cooccurrences", "PairBatches", "count_cooccurrences"],
        "glove": ["Glove", "GloveConfig"],
    },
)
