"""Training: jobs and their folders, the trainer and its loop, checkpoints, schedules, progress."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names

if TYPE_CHECKING:
    from pyrnn.train.config import TrainConfig as TrainConfig
    from pyrnn.train.distributed import ProcessGroup as ProcessGroup
    from pyrnn.train.distributed import local_device as local_device
    from pyrnn.train.distributed import process_group as process_group
    from pyrnn.train.job import Job as Job
    from pyrnn.train.loop import TrainingLoop as TrainingLoop
    from pyrnn.train.loop import fit as fit
    from pyrnn.train.metrics_file import EpochMetrics as EpochMetrics
    from pyrnn.train.metrics_file import read_metrics as read_metrics
    from pyrnn.train.progress import JsonLinesReporter as JsonLinesReporter
    from pyrnn.train.progress import Reporter as Reporter
    from pyrnn.train.progress import Reporters as Reporters
    from pyrnn.train.progress import Start as Start
    from pyrnn.train.progress import TerminalReporter as TerminalReporter
    from pyrnn.train.progress import reporter_for as reporter_for
    from pyrnn.train.run import resumed_job as resumed_job
    from pyrnn.train.run import train as train
    from pyrnn.train.run_folder import Run as Run
    from pyrnn.train.run_folder import labels as labels
    from pyrnn.train.run_folder import read_job as read_job
    from pyrnn.train.run_folder import read_run_metrics as read_run_metrics
    from pyrnn.train.schedule import Schedule as Schedule
    from pyrnn.train.task import Batches as Batches
    from pyrnn.train.task import Loss as Loss
    from pyrnn.train.task import Objective as Objective
    from pyrnn.train.task import Task as Task
    from pyrnn.train.task import Verb as Verb
    from pyrnn.train.tensorboard import TensorBoardReporter as TensorBoardReporter
    from pyrnn.train.trainer import GradientTrainer as GradientTrainer
    from pyrnn.train.trainer import StepResult as StepResult
    from pyrnn.train.trainer import Trainer as Trainer

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "config": ["TrainConfig"],
        "distributed": ["ProcessGroup", "local_device", "process_group"],
        "job": ["Job"],
        "loop": ["TrainingLoop", "fit"],
        "metrics_file": ["EpochMetrics", "read_metrics"],
        "progress": [
            "JsonLinesReporter",
            "Reporter",
            "Reporters",
            "Start",
            "TerminalReporter",
            "reporter_for",
        ],
        "run": ["resumed_job", "train"],
        "run_folder": ["Run", "labels", "read_job", "read_run_metrics"],
        "schedule": ["Schedule"],
        "task": ["Batches", "Loss", "Objective", "Task", "Verb"],
        "tensorboard": ["TensorBoardReporter"],
        "trainer": ["GradientTrainer", "StepResult", "Trainer"],
    },
)
