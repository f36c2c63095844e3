"""Models built from the layers."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.models.backbones import Backend as Backend
    from pyrnn.models.backbones import recurrent_class as recurrent_class
    from pyrnn.models.backbones import state_shapes as state_shapes
    from pyrnn.models.classifier import Classifier as Classifier
    from pyrnn.models.configs import Architecture as Architecture
    from pyrnn.models.configs import ClassifierConfig as ClassifierConfig
    from pyrnn.models.configs import LanguageModelConfig as LanguageModelConfig
    from pyrnn.models.configs import ReaderConfig as ReaderConfig
    from pyrnn.models.configs import Seq2SeqConfig as Seq2SeqConfig
    from pyrnn.models.configs import TaggerConfig as TaggerConfig
    from pyrnn.models.configs import TokenModelConfig as TokenModelConfig
    from pyrnn.models.glove import GloveModel as GloveModel
    from pyrnn.models.language_model import LanguageModel as LanguageModel
    from pyrnn.models.pretrained import Pretrained as Pretrained
    from pyrnn.models.reader import Reader as Reader
    from pyrnn.models.seq2seq import Seq2Seq as Seq2Seq
    from pyrnn.models.seq2seq import Source as Source
    from pyrnn.models.state import DecoderState as DecoderState
    from pyrnn.models.state import State as State
    from pyrnn.models.state import StepOutput as StepOutput
    from pyrnn.models.state import detach_state as detach_state
    from pyrnn.models.state import select_state as select_state
    from pyrnn.models.state import state_of as state_of
    from pyrnn.models.state import state_tensors as state_tensors
    from pyrnn.models.tagger import Tagger as Tagger
    from pyrnn.models.word2vec import Word2VecModel as Word2VecModel
    from pyrnn.models.word_configs import Word2VecConfig as Word2VecConfig
    from pyrnn.models.word_configs import WordVectorConfig as WordVectorConfig

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "configs": [
            "Architecture",
            "ClassifierConfig",
            "LanguageModelConfig",
            "ReaderConfig",
            "Seq2SeqConfig",
            "TaggerConfig",
            "TokenModelConfig",
        ],
        "classifier": ["Classifier"],
        "language_model": ["LanguageModel"],
        "reader": ["Reader"],
        "seq2seq": ["Seq2Seq", "Source"],
        "tagger": ["Tagger"],
        "glove": ["GloveModel"],
        "word2vec": ["Word2VecModel"],
        "word_configs": ["Word2VecConfig", "WordVectorConfig"],
        "backbones": ["Backend", "recurrent_class", "state_shapes"],
        "pretrained": ["Pretrained"],
        "state": [
            "DecoderState",
            "State",
            "StepOutput",
            "detach_state",
            "select_state",
            "state_of",
            "state_tensors",
        ],
    },
)
