"""Word vectors: learned, kept, asked and judged."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.embeddings.corpus import Corpus as Corpus
    from pyrnn.embeddings.corpus import make_corpus as make_corpus
    from pyrnn.embeddings.corpus import read_sentences as read_sentences
    from pyrnn.embeddings.vocabulary import CountedVocabulary as CountedVocabulary

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "corpus": ["Corpus", "make_corpus", "read_sentences"],
        "vocabulary": ["CountedVocabulary"],
    },
)
