"""Scores as summable statistics: the same in one process and in several."""

from pyrnn.metrics.base import Combined, Metrics
from pyrnn.metrics.sequence import F1, Accuracy, ErrorRate, Perplexity, edit_distance

__all__ = ["Accuracy", "Combined", "ErrorRate", "F1", "Metrics", "Perplexity", "edit_distance"]
