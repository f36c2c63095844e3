"""Word vectors: learned, kept, asked and judged."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.embeddings.configs import Judging as Judging
    from pyrnn.embeddings.configs import Reading as Reading
    from pyrnn.embeddings.evaluation import AnalogyScores as AnalogyScores
    from pyrnn.embeddings.evaluation import AnalogySection as AnalogySection
    from pyrnn.embeddings.evaluation import SimilarityScores as SimilarityScores
    from pyrnn.embeddings.evaluation import evaluate_analogies as evaluate_analogies
    from pyrnn.embeddings.evaluation import evaluate_similarities as evaluate_similarities
    from pyrnn.embeddings.files import convert_vectors as convert_vectors
    from pyrnn.embeddings.files import open_vectors as open_vectors
    from pyrnn.embeddings.files import select_vectors as select_vectors
    from pyrnn.embeddings.files import write_vectors as write_vectors
    from pyrnn.embeddings.neighbours import Neighbour as Neighbour
    from pyrnn.embeddings.ngrams import CharacterNgrams as CharacterNgrams
    from pyrnn.embeddings.spelling import UnknownWord as UnknownWord
    from pyrnn.embeddings.vectors import WordVectors as WordVectors
    from pyrnn.embeddings.words import WordList as WordList

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "configs": ["Judging", "Reading"],
        "evaluation": [
            "AnalogyScores",
            "AnalogySection",
            "SimilarityScores",
            "evaluate_analogies",
            "evaluate_similarities",
        ],
        "files": ["convert_vectors", "open_vectors", "select_vectors", "write_vectors"],
        "neighbours": ["Neighbour"],
        "ngrams": ["CharacterNgrams"],
        "spelling": ["UnknownWord"],
        "vectors": ["WordVectors"],
        "words": ["WordList"],
    },
)
