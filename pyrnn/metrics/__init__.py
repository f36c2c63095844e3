"""Scores as summable statistics: the same in one process and in several."""

from pyrnn.metrics.base import Combined, Metrics
from pyrnn.metrics.bleu import BLEU, bleu
from pyrnn.metrics.bootstrap import Comparison, Interval, bootstrap_interval, paired_bootstrap
from pyrnn.metrics.chrf import chrf
from pyrnn.metrics.classification import (
    AccuracyByKind,
    Calibration,
    CalibrationBins,
    ConfusionMatrix,
    ExampleLoss,
)
from pyrnn.metrics.correlation import correlation_p, pearson, spearman
from pyrnn.metrics.sequence import F1, Accuracy, ErrorRate, ExactMatch, Perplexity, edit_distance
from pyrnn.metrics.spans import Scheme, Span, SpanF1, allowed_tags, obeys, scheme_of, spans_of

__all__ = [
    "Accuracy",
    "AccuracyByKind",
    "BLEU",
    "Calibration",
    "CalibrationBins",
    "Combined",
    "Comparison",
    "ConfusionMatrix",
    "ErrorRate",
    "ExactMatch",
    "ExampleLoss",
    "F1",
    "Interval",
    "Metrics",
    "Perplexity",
    "Scheme",
    "Span",
    "SpanF1",
    "allowed_tags",
    "bleu",
    "bootstrap_interval",
    "chrf",
    "edit_distance",
    "obeys",
    "paired_bootstrap",
    "correlation_p",
    "pearson",
    "scheme_of",
    "spans_of",
    "spearman",
]
