"""Models built from the recurrent layers."""

from pyrnn.models.language_model import (
    LanguageModel,
    LanguageModelConfig,
    RecurrentState,
    detach_state,
    recurrent_class,
)

__all__ = [
    "LanguageModel",
    "LanguageModelConfig",
    "RecurrentState",
    "detach_state",
    "recurrent_class",
]
