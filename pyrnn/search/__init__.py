"""What trained models are used for: drawing texts and scoring sentences."""

from pyrnn.search.filtering import SamplingConfig, filter_logits
from pyrnn.search.sampling import FINISHED, generate, generate_text, stream_text
from pyrnn.search.scoring import SentenceScore, score

__all__ = [
    "SamplingConfig",
    "filter_logits",
    "generate",
    "generate_text",
    "stream_text",
    "FINISHED",
    "SentenceScore",
    "score",
]
