"""From text to batches: vocabularies, and contiguous streams for truncated back-propagation through time."""

from pyrnn.text.streams import IGNORE, StreamBatches, split_validation
from pyrnn.text.vocabulary import Vocabulary

__all__ = ["IGNORE", "StreamBatches", "Vocabulary", "split_validation"]
