"""Scores as summable statistics: the same in one process and in several."""

from pyrnn.metrics.base import Combined, Metrics
from pyrnn.metrics.bleu import BLEU, bleu
from pyrnn.metrics.bootstrap import Comparison, Interval, bootstrap_interval, paired_bootstrap
from pyrnn.metrics.chrf import chrf
from pyrnn.metrics.correlation import correlation_p, pearson, spearman
from pyrnn.metrics.sequence import F1, Accuracy, ErrorRate, ExactMatch, Perplexity, edit_distance

__all__ = [
    "Accuracy",
    "BLEU",
    "Combined",
    "Comparison",
    "ErrorRate",
    "ExactMatch",
    "F1",
    "Interval",
    "Metrics",
    "Perplexity",
    "bleu",
    "bootstrap_interval",
    "chrf",
    "edit_distance",
    "paired_bootstrap",
    "correlation_p",
    "pearson",
    "spearman",
]
