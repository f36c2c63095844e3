"""What word vectors are learned from: dataclasses without torch, for the command line lists them without it.

Dimension key: V vocabulary, D vector.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from pyrnn._configuration import require_choices, require_range

_LARGEST_ROW = 2**31 - 1


@dataclass(frozen=True)
class Word2VecConfig:
    """What word vectors learn from: which neighbours predict which, and by what loss.

    Args:
        vocabulary_size: V, words that have a vector.
        model: "skipgram" predicts each neighbour of a word by itself; "cbow" predicts a word from the mean of
            its neighbours' vectors.
        vector_size: D, width of a vector.
        window: how far away a neighbour may stand, in words.
        shrink_windows: draw the window of each word, every size from 1 to `window` being equally likely, so
            that near neighbours count more; else it is `window`.
        loss: "negative-sampling" tells the word from words that are drawn as noise; "hierarchical-softmax"
            predicts its Huffman code bit by bit.
        negative: noise words of a prediction; without effect on hierarchical softmax.
        noise_exponent: noise words are drawn with probability count^exponent.
        shared_negatives: make the predictions of a skip-gram's window one step, up to 8 of them, with one set
            of noise words: faster, and not quite word2vec.
            Source: Ji et al., "Parallelizing word2vec in shared and distributed memory", 2016.
        sample: t, the frequency f from about which on occurrences are left out at random; sqrt(t/f) + t/f of
            them are kept. 0 keeps all.
        min_n: characters of the shortest n-grams that are part of a word's vector.
        max_n: characters of the longest ones; 0 for words alone.
            Source: Bojanowski et al., "Enriching word vectors with subword information", 2017.
        buckets: rows that the n-grams share, by their hash.
        min_learning_rate: where the rate, which falls linearly, ends with the last word.

    Raises:
        ValueError: a size below one, a number out of its range, or no negatives to tell a word from.

    Example:
        >>> Word2VecConfig(1000, window=0)
        Traceback (most recent call last):
        ValueError: window must be at least 1, got 0
    """

    vocabulary_size: int
    model: Literal["skipgram", "cbow"] = "skipgram"
    vector_size: int = 100
    window: int = 5
    shrink_windows: bool = True
    loss: Literal["negative-sampling", "hierarchical-softmax"] = "negative-sampling"
    negative: int = 5
    noise_exponent: float = 0.75
    shared_negatives: bool = False
    sample: float = 1e-3
    min_n: int = 3
    max_n: int = 0
    buckets: int = 2_000_000
    min_learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        require_choices(self, ("model", "loss"))
        require_range(self, ("vocabulary_size", "buckets"), least=1, most=_LARGEST_ROW)
        require_range(self, ("vector_size",), least=1, most=1 << 20)
        require_range(self, ("window", "min_n"), least=1, most=1000)
        require_range(self, ("max_n",), least=0, most=64)
        least = 1 if self.loss == "negative-sampling" else 0
        require_range(self, ("negative",), least=least, most=1000)
        require_range(self, ("noise_exponent",), least=-10, most=10)
        require_range(self, ("sample", "min_learning_rate"), least=0, most=1)
        if 0 < self.max_n < self.min_n:
            raise ValueError(
                f"max_n must be 0, for words alone, or at least min_n, got {self.max_n} and min_n "
                f"{self.min_n}"
            )
        if self.vocabulary_size + self.buckets > _LARGEST_ROW:
            raise ValueError(f"vocabulary and buckets must have at most {_LARGEST_ROW:,} rows together")

    @property
    def input_rows(self) -> int:
        """V, and with n-grams the buckets."""
        return self.vocabulary_size + (self.buckets if self.max_n else 0)

    @property
    def output_rows(self) -> int:
        """V words, or V - 1 nodes of the Huffman tree."""
        V = self.vocabulary_size
        return V if self.loss == "negative-sampling" else max(V - 1, 1)


@dataclass(frozen=True)
class WordVectorConfig(Word2VecConfig):
    """What word vectors learn from: as of `Word2VecConfig`, or counts of pairs, with "glove" as the model.

    GloVe has the sizes and the window of `Word2VecConfig`; of its other settings GloVe takes none, and
    `Word2VecConfig` none of these.

    Args:
        model: "skipgram" or "cbow", or "glove".
            Source: Pennington, Socher and Manning, "GloVe: Global vectors for word representation", 2014.
        x_max: a pair that is counted so often, or more, has weight 1.
        alpha: of other pairs x / `x_max` is raised to this power.
        sides: "both" counts neighbours on both sides; "left" those before a word alone.
        weighting: "harmonic" counts a pair at distance n as 1 / n; "flat" as 1.
        combination: a word's vector is the "sum" or "mean" of its two, or the one as a "word" alone.

    Raises:
        ValueError: as of `Word2VecConfig`, x_max not above zero, or a setting of another model.

    Example:
        >>> WordVectorConfig(1000, model="glove", negative=10)
        Traceback (most recent call last):
        ValueError: negative is no setting of glove, got 10: leave it out
    """

    model: Literal["skipgram", "cbow", "glove"] = "skipgram"
    x_max: float = 100.0
    alpha: float = 0.75
    sides: Literal["both", "left"] = "both"
    weighting: Literal["harmonic", "flat"] = "harmonic"
    combination: Literal["sum", "mean", "word"] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choices(self, ("sides", "weighting", "combination"))
        if not 0 < self.x_max < float("inf"):
            raise ValueError(f"x_max must be above 0 and finite, got {self.x_max}")
        require_range(self, ("alpha",), least=0, most=10)
        own = {field.name for field in fields(Word2VecConfig)}
        common = {"vocabulary_size", "model", "vector_size", "window"}
        for field in fields(self):
            foreign = field.name in own if self.model == "glove" else field.name not in own
            value = getattr(self, field.name)
            if foreign and field.name not in common and value != field.default:
                raise ValueError(f"{field.name} is no setting of {self.model}, got {value}: leave it out")
