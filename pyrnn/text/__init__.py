"""From text to batches: files, tokenizers, and streams for truncated back-propagation through time."""

from pyrnn.text.files import read_text
from pyrnn.text.streams import IGNORE, StreamBatches, split_validation
from pyrnn.text.subword import SubwordTokenizer
from pyrnn.text.token_file import TokenFile, encode_file, open_tokens, windows, write_tokens
from pyrnn.text.tokenizer import LEVELS, Level, Tokenizer, VocabularyTokenizer, train_tokenizer
from pyrnn.text.vocabulary import Vocabulary

__all__ = [
    "read_text",
    "Vocabulary",
    "LEVELS",
    "Level",
    "Tokenizer",
    "VocabularyTokenizer",
    "SubwordTokenizer",
    "train_tokenizer",
    "TokenFile",
    "encode_file",
    "open_tokens",
    "windows",
    "write_tokens",
    "IGNORE",
    "StreamBatches",
    "split_validation",
]
