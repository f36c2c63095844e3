"""The oracle: recurrent networks and attention from their equations, in plain torch, for any float."""

from pyrnn.reference.attention import AttentionOutput, scaled_dot_product_attention
from pyrnn.reference.attention_decoder import DecoderOutput, attention_decoder
from pyrnn.reference.recurrent import RecurrentOutput, group_weights, recurrent

__all__ = [
    "AttentionOutput",
    "DecoderOutput",
    "RecurrentOutput",
    "attention_decoder",
    "group_weights",
    "recurrent",
    "scaled_dot_product_attention",
]
