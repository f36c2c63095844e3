"""Batches for training and evaluation: pure functions of the step, over memory or files of any size."""

from pyrnn.data.batches import Groups, require_even_shares
from pyrnn.data.feature_file import read_features, write_features
from pyrnn.data.padded import PaddedBatches
from pyrnn.data.sequence_file import read_sequences, write_sequences
from pyrnn.data.streams import StreamBatches, require_a_window, split_validation, validation_tokens
from pyrnn.data.token_file import TokenFile, encode_file, encoded_text, open_tokens, windows, write_tokens
from pyrnn.data.workers import PreparedBatches

__all__ = [
    "Groups",
    "PaddedBatches",
    "PreparedBatches",
    "StreamBatches",
    "TokenFile",
    "encode_file",
    "encoded_text",
    "open_tokens",
    "read_features",
    "read_sequences",
    "require_a_window",
    "require_even_shares",
    "split_validation",
    "validation_tokens",
    "windows",
    "write_features",
    "write_sequences",
    "write_tokens",
]
