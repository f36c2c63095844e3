"""The sizes of models of tokens: dataclasses without torch, so that the command line lists them without it.

Dimension key: E embedding, H hidden, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyrnn._configuration import require_choices, require_range

Architecture = Literal["rnn", "gru", "lstm", "transformer"]
LanguageModelArchitecture = Literal[Architecture, "feedforward"]
ClassifierArchitecture = Literal["average", Architecture, "feedforward"]

#: The file of a model's folder that holds its sizes; in a run's folder the job's other settings too.
CONFIG = "config.json"

_MOST_LAYERS = 1000


@dataclass(frozen=True)
class TokenModelConfig:
    """Sizes that every model of tokens has: vectors, and layers between them and its output.

    Args:
        vocabulary_size: V, tokens that the model knows.
        architecture: "rnn" (tanh), "gru", "lstm" or "transformer"; a job has other defaults for a
            transformer.
        embedding_size: E, width of the token vectors; without effect in a transformer, whose vectors have H.
        hidden_size: H, units of a recurrent layer; the width of a transformer.
        num_layers: L, layers stacked on one another.
        num_heads: heads of a transformer's attention, a divisor of H.
        dropout: probability of zeroing an element between recurrent layers, or in a transformer an attention
            weight and an element of what a part computes; and of zeroing one before the softmax.
        input_dropout: probability of zeroing an element of the token vectors.

    Raises:
        ValueError: a size below one, a dropout outside [0, 1), an unknown architecture, or heads that do not
            divide a transformer's width.

    Example:
        >>> TokenModelConfig(65, architecture="transformer", hidden_size=20)
        Traceback (most recent call last):
        ValueError: hidden_size must be a multiple of num_heads, got 20 and 8
    """

    vocabulary_size: int
    architecture: Architecture = "lstm"
    embedding_size: int = 64
    hidden_size: int = 256
    num_layers: int = 2
    num_heads: int = 8
    dropout: float = 0.2
    input_dropout: float = 0.0

    def __post_init__(self) -> None:
        require_range(self, ("vocabulary_size", "embedding_size", "hidden_size", "num_heads"), least=1)
        require_range(self, ("num_layers",), least=self.fewest_layers, most=_MOST_LAYERS)
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        require_choices(self, ("architecture",))
        if self.architecture == "transformer" and self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_heads, got {self.hidden_size} and {self.num_heads}"
            )

    @property
    def fewest_layers(self) -> int:
        """The smallest L: a kind of model that has something without layers says so."""
        return 1

    @property
    def vector_size(self) -> int:
        """Width of the token vectors: E, in a transformer H."""
        return self.hidden_size if self.architecture == "transformer" else self.embedding_size


@dataclass(frozen=True)
class LanguageModelConfig(TokenModelConfig):
    """Sizes of a `LanguageModel`, beside those of `TokenModelConfig`.

    Args:
        architecture: as of `TokenModelConfig`, or "feedforward": layers of tanh over a window of tokens.
            Source: Bengio et al., "A neural probabilistic language model", 2003.
        input: "embedding" looks up a learned vector of each token; "one-hot" feeds the token's unit vector
            to the first layer, whose input weights then are [G*H, V], and `embedding_size` has no effect.
        context: tokens before its own that a position sees in each layer of a transformer.
        window: tokens that a feed-forward network predicts the next one from; n - 1 of a model of n-grams.
        direct_connections: of a feed-forward network: the softmax also sees the window's vectors themselves.
        locked_dropout: keep one dropout mask for all steps of a window instead of drawing one a step.
            Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural
            networks", 2016. Of recurrent layers only.
        tied: use the embedding matrix as the softmax's weight; where E and H differ, a learned projection
            H -> E stands before it.
            Source: Press and Wolf, "Using the output embedding to improve language models", 2017.
        condition_size: C, classes that texts are conditioned on, or numbers of a feature vector; 0 for texts
            that stand alone.

    Raises:
        ValueError: as of `TokenModelConfig`, an unknown input, tied weights with one-hot input, or one-hot
            input, locked dropout, a condition or direct connections where the architecture has none.

    Example:
        >>> config = LanguageModelConfig(65, architecture="gru", embedding_size=32)
        >>> config.hidden_size, config.vector_size
        (256, 32)
    """

    architecture: LanguageModelArchitecture = "lstm"
    input: Literal["embedding", "one-hot"] = "embedding"
    context: int = 128
    window: int = 4
    direct_connections: bool = False
    locked_dropout: bool = False
    tied: bool = False
    condition_size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, ("context", "window"), least=1)
        require_range(self, ("condition_size",), least=0)
        require_choices(self, ("input",))
        if self.tied and self.input == "one-hot":
            raise ValueError(
                "tied weights need an embedding to tie to: set input to 'embedding' or tied to false"
            )
        if self.architecture in ("transformer", "feedforward"):
            kind = "a transformer" if self.architecture == "transformer" else "a feed-forward network"
            if self.input == "one-hot":
                raise ValueError(f"{kind} has no weights for one-hot input: set input to 'embedding'")
            if self.locked_dropout:
                raise ValueError(f"{kind} has no locked dropout: set locked_dropout to false")
        if self.condition_size and self.architecture == "feedforward":
            raise ValueError(
                "a feed-forward network forgets what stands before its window, so texts cannot be "
                "conditioned: set architecture to another one"
            )
        if self.direct_connections and self.architecture != "feedforward":
            raise ValueError(
                "direct connections are those of a feed-forward network: set architecture to 'feedforward', "
                "or direct_connections to false"
            )

    @property
    def vector_std(self) -> float:
        """Standard deviation of a fresh model's token vectors."""
        if self.architecture == "transformer":
            return 0.02  # as GPT-2's: larger ones would drown what the layers add
        return self.vector_size**-0.5 if self.tied else 1.0  # N(0, 1) would saturate a tied softmax


@dataclass(frozen=True)
class TaggerConfig(TokenModelConfig):
    """Sizes of a `Tagger`, beside those of `TokenModelConfig`.

    Args:
        num_tags: C, tags to choose from.
        tags: their C names; without names no rule of theirs is known.
        bidirectional: read each sentence from both ends, H units each way; a transformer always does.
        crf: score pairs of neighbouring tags too, in a conditional random field: whole paths are learned and
            found instead of single tags.
        constrained: where the tags are those of a scheme of spans (BIO, BIOES), give only paths that it
            allows; false where the sentences that were trained on do not keep to it (IOB1).
        characters: read the characters of each token too, by a "cnn" or an "lstm"; or "none".
        num_characters: different ones, and padding.
        character_size: width of the characters' vectors.
        character_features: what is told of each token by them; even for an "lstm".

    Raises:
        ValueError: as of `TokenModelConfig`, no tags, names that are not one for each, or an odd number of
            features of an "lstm".

    Example:
        >>> from pyrnn.models import Tagger
        >>> tagger = Tagger(TaggerConfig(100, hidden_size=16, num_tags=5))
    """

    num_tags: int = 1
    tags: tuple[str, ...] = ()
    bidirectional: bool = True
    crf: bool = False
    constrained: bool = True
    characters: Literal["none", "cnn", "lstm"] = "none"
    num_characters: int = 2
    character_size: int = 30
    character_features: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = ("num_tags", "num_characters", "character_size", "character_features")
        require_range(self, sizes, least=1)
        require_choices(self, ("characters",))
        if self.tags and len(self.tags) != self.num_tags:
            raise ValueError(f"tags must have a name for each of {self.num_tags}, got {len(self.tags)}")
        if len(set(self.tags)) != len(self.tags):
            raise ValueError(f"tags must be distinct, got {', '.join(self.tags[:20])}")
        if self.characters == "lstm" and self.character_features % 2:
            raise ValueError(
                f"character_features of an lstm come from two directions, got {self.character_features}: "
                "make it even"
            )


@dataclass(frozen=True)
class ClassifierConfig(TokenModelConfig):
    """Sizes of a `Classifier`, beside those of `TokenModelConfig`.

    Args:
        architecture: as of `TokenModelConfig`; or "average", the mean of a text's token vectors; or
            "feedforward", whose input is numbers instead of tokens. Of both the `num_layers` are layers of H
            units before the softmax, which may be none.
        num_layers: L, layers stacked on one another; 0 puts the softmax upon the mean or the numbers.
        num_classes: C, classes to choose from.
        num_features: F, numbers of an example of "feedforward"; without effect on others.
        bidirectional: read each text from both ends, H units each way; a transformer always does.
        pooling: what recurrent layers and transformers tell of a text: their "last" output, of both
            directions where each ends, the "mean" or "max" of all outputs, or a mean whose weights are
            learned, "attention".

    Raises:
        ValueError: as of `TokenModelConfig`, fewer than one class or number, or an unknown pooling.

    Example:
        >>> ClassifierConfig(100, architecture="average", num_layers=0, num_classes=3).vector_size
        64
    """

    architecture: ClassifierArchitecture = "lstm"
    num_classes: int = 1
    num_features: int = 1
    bidirectional: bool = True
    pooling: Literal["last", "mean", "max", "attention"] = "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, ("num_classes", "num_features"), least=1)
        require_choices(self, ("pooling",))

    @property
    def fewest_layers(self) -> int:
        """None are needed where the softmax has something to read without."""
        return 0 if self.architecture in ("average", "feedforward") else 1


@dataclass(frozen=True)
class ReaderConfig(ClassifierConfig):
    """Sizes of a `Reader`, beside those of `ClassifierConfig`, whose classes are the answers.

    Args:
        architecture: as of `ClassifierConfig`, but for "feedforward".
        pooling: as of `ClassifierConfig`, of story and question as one text; or "question": the question
            looks at the sentences of the story, which recurrent layers or a transformer read one after
            another.
        hops: how often "question" looks; each time it asks with what it found before. Without effect on
            others.

    Raises:
        ValueError: as of `ClassifierConfig`, no hop, or an architecture that has no sentences to look at.

    Example:
        >>> ReaderConfig(100, architecture="average", pooling="question")
        Traceback (most recent call last):
        ValueError: the pooling 'question' needs layers that read sentences one after another: set archite...
    """

    pooling: Literal["last", "mean", "max", "attention", "question"] = "question"
    hops: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, ("hops",), least=1, most=100)
        if self.architecture == "feedforward":
            raise ValueError("a reader reads words, and the architecture 'feedforward' numbers: set another")
        if self.pooling == "question" and self.architecture == "average":
            raise ValueError(
                "the pooling 'question' needs layers that read sentences one after another: set architecture "
                "to 'gru', 'lstm', 'rnn' or 'transformer', or pooling to 'last'"
            )


@dataclass(frozen=True)
class Seq2SeqConfig(TokenModelConfig):
    """Sizes of a `Seq2Seq`, beside those of `TokenModelConfig`, which are those of the target.

    The scores are explained in `pyrnn.nn.AttentionDecoder`.

    Args:
        source_vocabulary_size: tokens of the source that the model knows.
        attention: the scores of a recurrent decoder: "dot", "scaled", "general", "additive", "location" or
            "coverage"; or "none": all it knows is the encoder's last state. A transformer has its own, and
            this no effect.
        input_feeding: the context of a step goes into the next step's cell, not only to the softmax.
        bidirectional: the encoder's lowest recurrent layer reads the source from both ends, H / 2 units each
            way; a transformer always does.
        residual: recurrent layers above the lowest add their input to their output.
        norm_first: a transformer normalises what goes into its parts instead of what comes out.
        tied: "none"; "target": the embedding of the target is the softmax's weight; "all": that of the source
            as well, over one vocabulary.
            Source: Press and Wolf, "Using the output embedding to improve language models", 2017.
        vector_input: the source is vectors of so many features instead of tokens, for instance of a picture
            or of speech; 0 for tokens.

    Raises:
        ValueError: as of `TokenModelConfig`, an odd width of an encoder that reads from both ends, or one
            embedding for vocabularies of two sizes.

    Example:
        >>> config = Seq2SeqConfig(90, source_vocabulary_size=100, architecture="gru", attention="dot")
        >>> config.hidden_size
        256
    """

    source_vocabulary_size: int = 1
    attention: Literal["none", "dot", "scaled", "general", "additive", "location", "coverage"] = "additive"
    input_feeding: bool = True
    bidirectional: bool = True
    residual: bool = False
    norm_first: bool = True
    tied: Literal["none", "target", "all"] = "none"
    vector_input: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, ("source_vocabulary_size",), least=1)
        require_range(self, ("vector_input",), least=0)
        require_choices(self, ("attention", "tied"))
        recurrent = self.architecture != "transformer"
        if recurrent and self.bidirectional and self.hidden_size % 2:
            raise ValueError(
                f"hidden_size must be even for an encoder that reads from both ends, got {self.hidden_size}: "
                "set it so, or bidirectional to false"
            )
        if self.tied == "all" and self.vector_input:
            raise ValueError("vectors as input have no embedding to tie: set tied to 'target'")
        if self.tied == "all" and self.source_vocabulary_size != self.vocabulary_size:
            raise ValueError(
                f"one embedding serves vocabularies of one size, got {self.source_vocabulary_size} and "
                f"{self.vocabulary_size}: share the vocabulary, or set tied to 'target'"
            )
