"""Models built from the layers."""

from pyrnn.models._bodies import recurrent_class
from pyrnn.models._state import State, detach_state, select_state
from pyrnn.models.language_model import LanguageModel, LanguageModelConfig

__all__ = [
    "LanguageModel",
    "LanguageModelConfig",
    "State",
    "detach_state",
    "recurrent_class",
    "select_state",
]
