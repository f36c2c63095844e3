"""Word vectors: learned, kept, asked and judged."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.embeddings.corpus import Corpus as Corpus
    from pyrnn.embeddings.corpus import make_corpus as make_corpus
    from pyrnn.embeddings.corpus import read_sentences as read_sentences
    from pyrnn.embeddings.vocabulary import CountedVocabulary as CountedVocabulary
    from pyrnn.embeddings.word2vec import CorpusBlocks as CorpusBlocks
    from pyrnn.embeddings.word2vec import PredictionLoss as PredictionLoss
    from pyrnn.embeddings.word2vec import TrainedWord2Vec as TrainedWord2Vec
    from pyrnn.embeddings.word2vec import Word2VecTrainer as Word2VecTrainer
    from pyrnn.embeddings.word2vec import prediction_loss as prediction_loss
    from pyrnn.embeddings.word2vec import train_word2vec as train_word2vec
    from pyrnn.embeddings.word2vec import unseen_vector as unseen_vector
    from pyrnn.embeddings.word2vec import word_matrix as word_matrix
    from pyrnn.embeddings.word2vec_kernel import Word2VecKernel as Word2VecKernel

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "corpus": ["Corpus", "make_corpus", "read_sentences"],
        "vocabulary": ["CountedVocabulary"],
        "word2vec": [
            "CorpusBlocks",
            "PredictionLoss",
            "TrainedWord2Vec",
            "Word2VecTrainer",
            "prediction_loss",
            "train_word2vec",
            "unseen_vector",
            "word_matrix",
        ],
        "word2vec_kernel": ["Word2VecKernel"],
    },
)
