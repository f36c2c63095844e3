"""Recurrent layers and cells, attention and Transformers: drop-in for torch.nn's."""

from pyrnn.nn.attention import MultiheadAttention
from pyrnn.nn.attention_decoder import AttentionDecoder
from pyrnn.nn.cache import CacheList, KeyValueCache
from pyrnn.nn.cells import GRUCell, LSTMCell, RNNCell
from pyrnn.nn.crf import CRF
from pyrnn.nn.decoder_layer import TransformerDecoderLayer
from pyrnn.nn.encoder_layer import TransformerEncoderLayer
from pyrnn.nn.frozen import frozen_weights
from pyrnn.nn.positions import (
    LearnedPositionalEncoding,
    RotaryEmbedding,
    SinusoidalPositionalEncoding,
    alibi_slopes,
    sinusoidal_positions,
)
from pyrnn.nn.recurrent import GRU, LSTM, RNN
from pyrnn.nn.stream import Stream
from pyrnn.nn.transformer import Transformer, TransformerDecoder, TransformerEncoder

__all__ = [
    "RNN",
    "GRU",
    "LSTM",
    "RNNCell",
    "GRUCell",
    "LSTMCell",
    "MultiheadAttention",
    "AttentionDecoder",
    "CRF",
    "TransformerEncoderLayer",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerDecoder",
    "Transformer",
    "KeyValueCache",
    "CacheList",
    "frozen_weights",
    "Stream",
    "SinusoidalPositionalEncoding",
    "LearnedPositionalEncoding",
    "RotaryEmbedding",
    "sinusoidal_positions",
    "alibi_slopes",
]
