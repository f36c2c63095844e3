"""Training: jobs and their folders, truncated BPTT, schedules, checkpoints, validation, progress."""

from pyrnn.train.config import TrainConfig
from pyrnn.train.distributed import Processes, joined_processes, own_device
from pyrnn.train.evaluation import Evaluation, evaluate, evaluate_file
from pyrnn.train.job import LanguageModelJob, TextConfig
from pyrnn.train.language_model import fit
from pyrnn.train.progress import JsonLinesReporter, Reporter, TerminalReporter, reporter_for
from pyrnn.train.run import train_language_model
from pyrnn.train.run_folder import EpochMetrics, Run, load_run, read_job, read_metrics
from pyrnn.train.schedule import Schedule
from pyrnn.train.truncated_bptt import StepResult, TruncatedBPTT

__all__ = [
    "EpochMetrics",
    "Evaluation",
    "JsonLinesReporter",
    "LanguageModelJob",
    "Processes",
    "Reporter",
    "Run",
    "Schedule",
    "StepResult",
    "TerminalReporter",
    "TextConfig",
    "TrainConfig",
    "TruncatedBPTT",
    "evaluate",
    "evaluate_file",
    "fit",
    "joined_processes",
    "load_run",
    "own_device",
    "read_job",
    "read_metrics",
    "reporter_for",
    "train_language_model",
]
