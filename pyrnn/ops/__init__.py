"""Functional operators."""

from pyrnn.ops._operator import Route
from pyrnn.ops.attention import attention_route, scaled_dot_product_attention
from pyrnn.ops.attention_decoder import attention_decoder, attention_decoder_route
from pyrnn.ops.crf import crf_log_partition, crf_route, crf_viterbi
from pyrnn.ops.dropout import dropout, dropout_route
from pyrnn.ops.linear import LinearRoute, linear, linear_route
from pyrnn.ops.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_route
from pyrnn.ops.recurrent import recurrent, route
from pyrnn.ops.residual_layer_norm import residual_layer_norm, residual_layer_norm_route
from pyrnn.ops.rotary_embedding import rotary_embedding, rotary_embedding_route
from pyrnn.reference import DecoderOutput, RecurrentOutput

__all__ = [
    "DecoderOutput",
    "LinearRoute",
    "RecurrentOutput",
    "Route",
    "attention_decoder",
    "attention_decoder_route",
    "attention_route",
    "crf_log_partition",
    "crf_route",
    "crf_viterbi",
    "dropout",
    "dropout_route",
    "linear",
    "linear_cross_entropy",
    "linear_cross_entropy_route",
    "linear_route",
    "recurrent",
    "residual_layer_norm",
    "residual_layer_norm_route",
    "rotary_embedding",
    "rotary_embedding_route",
    "route",
    "scaled_dot_product_attention",
]
