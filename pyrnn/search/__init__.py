"""Use of trained models: sampling and scoring."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.search.config import SamplingConfig as SamplingConfig
    from pyrnn.search.decoder import Decoder as Decoder
    from pyrnn.search.decoder import evaluating as evaluating
    from pyrnn.search.decoder import prefill as prefill
    from pyrnn.search.filtering import filter_logits as filter_logits
    from pyrnn.search.sampling import FINISHED as FINISHED
    from pyrnn.search.sampling import generate as generate
    from pyrnn.search.sampling import generate_text as generate_text
    from pyrnn.search.sampling import stream_text as stream_text
    from pyrnn.search.scoring import SentenceScore as SentenceScore
    from pyrnn.search.scoring import encode_sentence as encode_sentence
    from pyrnn.search.scoring import score as score
    from pyrnn.search.scoring import score_encoded as score_encoded

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "decoder": ["Decoder", "evaluating", "prefill"],
        "config": ["SamplingConfig"],
        "filtering": ["filter_logits"],
        "sampling": ["FINISHED", "generate", "generate_text", "stream_text"],
        "scoring": ["SentenceScore", "encode_sentence", "score", "score_encoded"],
    },
)
