"""The oracle: recurrent networks, attention and paths of tags from their equations, in plain torch."""

from pyrnn.reference.attention import AttentionOutput, scaled_dot_product_attention
from pyrnn.reference.attention_decoder import DecoderOutput, attention_decoder
from pyrnn.reference.crf import crf_log_partition, crf_viterbi
from pyrnn.reference.recurrent import RecurrentOutput, group_weights, recurrent

__all__ = [
    "AttentionOutput",
    "DecoderOutput",
    "RecurrentOutput",
    "attention_decoder",
    "crf_log_partition",
    "crf_viterbi",
    "group_weights",
    "recurrent",
    "scaled_dot_product_attention",
]
