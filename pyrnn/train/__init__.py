"""Training: truncated BPTT, schedules, validation, progress, run folders."""

from pyrnn.train.config import TrainConfig
from pyrnn.train.evaluation import Evaluation, evaluate
from pyrnn.train.language_model import EpochMetrics, fit
from pyrnn.train.progress import JsonLinesReporter, Reporter, TerminalReporter, reporter_for
from pyrnn.train.run_folder import Run, load_run, save_run
from pyrnn.train.schedule import Schedule
from pyrnn.train.truncated_bptt import StepResult, TruncatedBPTT

__all__ = [
    "EpochMetrics",
    "Evaluation",
    "JsonLinesReporter",
    "Reporter",
    "Run",
    "Schedule",
    "StepResult",
    "TerminalReporter",
    "TrainConfig",
    "TruncatedBPTT",
    "evaluate",
    "fit",
    "load_run",
    "reporter_for",
    "save_run",
]
