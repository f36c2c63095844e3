"""Models built from the layers."""

from pyrnn.models.backbones import recurrent_class
from pyrnn.models.language_model import LanguageModel, LanguageModelConfig
from pyrnn.models.state import State, detach_state, select_state

__all__ = [
    "LanguageModel",
    "LanguageModelConfig",
    "State",
    "detach_state",
    "recurrent_class",
    "select_state",
]
