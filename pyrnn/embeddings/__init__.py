"""Word vectors: learned, kept, asked and judged."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.embeddings.bias_report import BiasReport as BiasReport
    from pyrnn.embeddings.bias_report import measure_bias as measure_bias
    from pyrnn.embeddings.bias_report import sides_of as sides_of
    from pyrnn.embeddings.bias_words import AssociationTest as AssociationTest
    from pyrnn.embeddings.bias_words import BiasRows as BiasRows
    from pyrnn.embeddings.bias_words import BiasWords as BiasWords
    from pyrnn.embeddings.bias_words import find_bias_words as find_bias_words
    from pyrnn.embeddings.bias_words import gender_words as gender_words
    from pyrnn.embeddings.bias_words import read_bias_words as read_bias_words
    from pyrnn.embeddings.configs import Judging as Judging
    from pyrnn.embeddings.configs import Reading as Reading
    from pyrnn.embeddings.cooccurrence import PAIR as PAIR
    from pyrnn.embeddings.cooccurrence import Cooccurrences as Cooccurrences
    from pyrnn.embeddings.cooccurrence import PairBatches as PairBatches
    from pyrnn.embeddings.cooccurrence import count_cooccurrences as count_cooccurrences
    from pyrnn.embeddings.corpus import Corpus as Corpus
    from pyrnn.embeddings.corpus import make_corpus as make_corpus
    from pyrnn.embeddings.corpus import read_sentences as read_sentences
    from pyrnn.embeddings.debias import BiasSubspace as BiasSubspace
    from pyrnn.embeddings.debias import bias_components as bias_components
    from pyrnn.embeddings.debias import bias_subspace as bias_subspace
    from pyrnn.embeddings.debias import direct_bias as direct_bias
    from pyrnn.embeddings.debias import equalize as equalize
    from pyrnn.embeddings.debias import hard_debias as hard_debias
    from pyrnn.embeddings.debias import neutralize as neutralize
    from pyrnn.embeddings.evaluation import AnalogyScores as AnalogyScores
    from pyrnn.embeddings.evaluation import AnalogySection as AnalogySection
    from pyrnn.embeddings.evaluation import SimilarityScores as SimilarityScores
    from pyrnn.embeddings.evaluation import evaluate_analogies as evaluate_analogies
    from pyrnn.embeddings.evaluation import evaluate_similarities as evaluate_similarities
    from pyrnn.embeddings.files import convert_vectors as convert_vectors
    from pyrnn.embeddings.files import open_vectors as open_vectors
    from pyrnn.embeddings.files import select_vectors as select_vectors
    from pyrnn.embeddings.files import write_vectors as write_vectors
    from pyrnn.embeddings.glove import Glove as Glove
    from pyrnn.embeddings.glove import GloveConfig as GloveConfig
    from pyrnn.embeddings.glove_training import GloveTrainer as GloveTrainer
    from pyrnn.embeddings.glove_training import PairLoss as PairLoss
    from pyrnn.embeddings.glove_training import glove_matrix as glove_matrix
    from pyrnn.embeddings.glove_training import pair_loss as pair_loss
    from pyrnn.embeddings.neighbourhoods import Neighbourhoods as Neighbourhoods
    from pyrnn.embeddings.neighbourhoods import Sides as Sides
    from pyrnn.embeddings.neighbourhoods import measure_neighbourhoods as measure_neighbourhoods
    from pyrnn.embeddings.neighbourhoods import most_biased as most_biased
    from pyrnn.embeddings.neighbours import Neighbour as Neighbour
    from pyrnn.embeddings.ngrams import CharacterNgrams as CharacterNgrams
    from pyrnn.embeddings.projection import Components as Components
    from pyrnn.embeddings.projection import principal_components as principal_components
    from pyrnn.embeddings.projection import tsne as tsne
    from pyrnn.embeddings.sentences import NearSentence as NearSentence
    from pyrnn.embeddings.sentences import SentenceVectors as SentenceVectors
    from pyrnn.embeddings.spelling import UnknownWord as UnknownWord
    from pyrnn.embeddings.training import TextConfig as TextConfig
    from pyrnn.embeddings.training import TrainedGlove as TrainedGlove
    from pyrnn.embeddings.training import TrainedWord2Vec as TrainedWord2Vec
    from pyrnn.embeddings.training import train_glove as train_glove
    from pyrnn.embeddings.training import train_word2vec as train_word2vec
    from pyrnn.embeddings.vectors import WordVectors as WordVectors
    from pyrnn.embeddings.vocabulary import CountedVocabulary as CountedVocabulary
    from pyrnn.embeddings.weat import WeatResult as WeatResult
    from pyrnn.embeddings.weat import association_test as association_test
    from pyrnn.embeddings.word2vec import CorpusBlocks as CorpusBlocks
    from pyrnn.embeddings.word2vec import PredictionLoss as PredictionLoss
    from pyrnn.embeddings.word2vec import Word2VecTrainer as Word2VecTrainer
    from pyrnn.embeddings.word2vec import prediction_loss as prediction_loss
    from pyrnn.embeddings.word2vec import word_matrix as word_matrix
    from pyrnn.embeddings.word2vec import word_vectors as word_vectors
    from pyrnn.embeddings.word2vec_kernel import Word2VecKernel as Word2VecKernel
    from pyrnn.embeddings.words import WordList as WordList

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bias_report": ["BiasReport", "measure_bias", "sides_of"],
        "bias_words": [
            "AssociationTest",
            "BiasRows",
            "BiasWords",
            "find_bias_words",
            "gender_words",
            "read_bias_words",
        ],
        "configs": ["Judging", "Reading"],
        "cooccurrence": ["Cooccurrences", "PAIR", "PairBatches", "count_cooccurrences"],
        "corpus": ["Corpus", "make_corpus", "read_sentences"],
        "debias": [
            "BiasSubspace",
            "bias_components",
            "bias_subspace",
            "direct_bias",
            "equalize",
            "hard_debias",
            "neutralize",
        ],
        "evaluation": [
            "AnalogyScores",
            "AnalogySection",
            "SimilarityScores",
            "evaluate_analogies",
            "evaluate_similarities",
        ],
        "files": ["convert_vectors", "open_vectors", "select_vectors", "write_vectors"],
        "glove": ["Glove", "GloveConfig"],
        "glove_training": [
            "GloveTrainer",
            "PairLoss",
            "glove_matrix",
            "pair_loss",
        ],
        "neighbourhoods": ["Neighbourhoods", "Sides", "measure_neighbourhoods", "most_biased"],
        "neighbours": ["Neighbour"],
        "ngrams": ["CharacterNgrams"],
        "projection": ["Components", "principal_components", "tsne"],
        "sentences": ["NearSentence", "SentenceVectors"],
        "spelling": ["UnknownWord"],
        "training": ["TextConfig", "TrainedGlove", "TrainedWord2Vec", "train_glove", "train_word2vec"],
        "vectors": ["WordVectors"],
        "vocabulary": ["CountedVocabulary"],
        "weat": ["WeatResult", "association_test"],
        "word2vec": [
            "CorpusBlocks",
            "PredictionLoss",
            "Word2VecTrainer",
            "prediction_loss",
            "word_matrix",
            "word_vectors",
        ],
        "word2vec_kernel": ["Word2VecKernel"],
        "words": ["WordList"],
    },
)
