"""Use of trained models: sampling, beam search and scoring."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.search.beam import beam_search as beam_search
    from pyrnn.search.config import OutputConfig as OutputConfig
    from pyrnn.search.config import SamplingConfig as SamplingConfig
    from pyrnn.search.config import SearchConfig as SearchConfig
    from pyrnn.search.decoder import Decoder as Decoder
    from pyrnn.search.decoder import evaluating as evaluating
    from pyrnn.search.decoder import prefill as prefill
    from pyrnn.search.errors import SearchErrors as SearchErrors
    from pyrnn.search.errors import WidthResult as WidthResult
    from pyrnn.search.errors import score_references as score_references
    from pyrnn.search.errors import search_errors as search_errors
    from pyrnn.search.errors import width_sweep as width_sweep
    from pyrnn.search.filtering import filter_logits as filter_logits
    from pyrnn.search.hypotheses import Hypothesis as Hypothesis
    from pyrnn.search.prompt_error import PromptError as PromptError
    from pyrnn.search.sampling import FINISHED as FINISHED
    from pyrnn.search.sampling import generate as generate
    from pyrnn.search.scoring import SentenceScore as SentenceScore
    from pyrnn.search.scoring import encode_sentence as encode_sentence
    from pyrnn.search.scoring import score as score
    from pyrnn.search.scoring import score_encoded as score_encoded
    from pyrnn.search.scoring import score_targets as score_targets
    from pyrnn.search.texts import FoundText as FoundText
    from pyrnn.search.texts import generate_text as generate_text
    from pyrnn.search.texts import search_text as search_text
    from pyrnn.search.texts import stream_text as stream_text
    from pyrnn.search.unknown import replace_unknown as replace_unknown

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "beam": ["beam_search"],
        "decoder": ["Decoder", "evaluating", "prefill"],
        "config": ["OutputConfig", "SamplingConfig", "SearchConfig"],
        "errors": ["SearchErrors", "WidthResult", "score_references", "search_errors", "width_sweep"],
        "filtering": ["filter_logits"],
        "hypotheses": ["Hypothesis"],
        "prompt_error": ["PromptError"],
        "sampling": ["FINISHED", "generate"],
        "scoring": ["SentenceScore", "encode_sentence", "score", "score_encoded", "score_targets"],
        "unknown": ["replace_unknown"],
        "texts": ["FoundText", "generate_text", "search_text", "stream_text"],
    },
)
