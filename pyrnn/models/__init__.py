"""Models built from the recurrent layers."""

from pyrnn.models.language_model import (
    LanguageModel,
    LanguageModelConfig,
    RecurrentState,
    detach_state,
    recurrent_class,
)
from pyrnn.models.sampling import sample, sample_text

__all__ = [
    "LanguageModel",
    "LanguageModelConfig",
    "RecurrentState",
    "detach_state",
    "recurrent_class",
    "sample",
    "sample_text",
]
