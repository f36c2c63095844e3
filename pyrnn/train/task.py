"""What is trained: a task knows its data, its model, its loss and its scores; the trainer knows none of them.

No torch is imported here or by a task's own module before it is used: the command line lists tasks and their
settings without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from typing_extensions import Self

import pyrnn

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pyrnn.metrics import Metrics
    from pyrnn.models.pretrained import Pretrained
    from pyrnn.text import Source
    from pyrnn.train.config import TrainConfig
    from pyrnn.train.distributed import ProcessGroup
    from pyrnn.train.job import Job
    from pyrnn.train.run_folder import Run
    from pyrnn.train.trainer import Trainer

#: Settings by table: "data", "model", "train".
Tables = Mapping[str, Mapping[str, Any]]
#: The tensors of one step, by their names; the task that made them knows their shapes.
Batch = Mapping[str, "Tensor"]
Split = Literal["train", "validation"]

#: In `Task.defaults`: of every kind of model.
ANY = "*"


class Batches(Protocol):
    """The batches of one epoch after another, each a pure function of its number.

    Two objects made with the same arguments give the same batches, whatever was asked before: that is what
    makes a resumed run repeat the one that was not stopped.

    Attributes:
        batch_size: sequences or examples of a full batch here; in a shard its part of them.
    """

    batch_size: int

    def __len__(self) -> int:
        """Batches of one epoch."""
        ...

    def __getitem__(self, step: int) -> Batch:
        """Batch `step` >= 0 of all epochs: number step % len of epoch step // len."""
        ...

    def shard(self, rank: int, world: int) -> Self:
        """Part `rank` of `world` of the same batches; all parts together are the whole.

        Raises:
            ValueError: the batch size is not a multiple of `world`.
        """
        ...


class Loss(NamedTuple):
    """What a task says of one batch.

    Args:
        sum: the loss summed over all that `Task.weight` counts; a scalar with its graph.
        carried: tensors for the next step of the same epoch, without a graph; None where steps are apart.
    """

    sum: Tensor
    carried: tuple[Tensor, ...] | None = None


class Unknown(NamedTuple):
    """What a vocabulary does not know of a text.

    Args:
        tokens: how many stand for something outside it.
        total: of so many.
    """

    tokens: int
    total: int


@dataclass(frozen=True)
class Objective:
    """What "best" means: a score's name and whether small or large is good, or whatever comes last.

    Example:
        >>> Objective("accuracy", "max").is_better(0.9, than=0.8)
        True
    """

    metric: str
    direction: Literal["min", "max", "last"]

    def is_better(self, value: float, *, than: float | None) -> bool:
        """Whether `value` is better than another one; anything is better than None."""
        if than is None or self.direction == "last":
            return True
        return value < than if self.direction == "min" else value > than


@dataclass(frozen=True)
class Verb:
    """A command for trained runs.

    Args:
        function: "package.module:name". It takes the run and the lines of the standard input, a
            `pyrnn.text.LineReader` there, and yields the lines of the output, each of which is written at
            once; its docstring is the command's help.
        whole: it is a whole command instead: its annotated arguments are those of the command line, the first
            of them the run's folder.
    """

    function: str
    whole: bool = False


class Task(ABC):
    """A family of models that is trained in one way: by gradients of its `loss`, or by its own `trainer`.

    Class attributes:
        name: the command's, and "task" in config.json.
        summary: one line for the list of commands.
        unit: what `weight` counts, for progress and speed.
        data_config, model_config: dataclasses of the settings' tables "data" and "model".
        sizes: fields of `model_config` that follow from the data; `prepare` gives them.
        vocabulary_settings: fields of `data_config` that decide what a token is, and which there are.
        files: what `prepare` writes into a run's folder.
        objective: which score of `evaluate` decides.
        score_unit: what follows its value in a sentence.
        kind_setting: the setting of the model on which those defaults depend.
        defaults: settings whose default depends on `kind_setting`, or (`ANY`) on the task alone.
        devices: the kinds of devices on which it is trained.
        several_processes: whether torchrun may train it.
        unused: settings of the recipe that mean nothing here.
        verbs: what a trained run can do beside `pyrnn evaluate`.
        examples: lines for the command's help: what follows "pyrnn train NAME".
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    unit: ClassVar[str]
    data_config: ClassVar[type]
    model_config: ClassVar[type]
    sizes: ClassVar[tuple[str, ...]] = ()
    vocabulary_settings: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[str, ...]] = ()
    objective: ClassVar[Objective]
    score_unit: ClassVar[str] = ""
    kind_setting: ClassVar[str] = "architecture"
    defaults: ClassVar[Mapping[str, Tables]] = {}
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    several_processes: ClassVar[bool] = True
    unused: ClassVar[tuple[str, ...]] = ()
    verbs: ClassVar[Mapping[str, Verb]] = {}
    examples: ClassVar[Sequence[str]] = ()

    def objective_of(self, job: Job) -> Objective:
        """What "best" means in a job; a task of which a job may choose says so here."""
        return self.objective

    def score_unit_of(self, job: Job) -> str:
        """What follows the score in a sentence about a job."""
        return self.score_unit

    @abstractmethod
    def prepare(self, job: Job, folder: Path) -> dict[str, Any]:
        """Read the data once, write `files` into the folder, and return the model's `sizes`.

        With `init_from` in the recipe, ids mean what they mean in that run.

        Raises:
            FileNotFoundError: the data are not there.
            ValueError: they cannot be used.
        """

    @abstractmethod
    def build(self, job: Job) -> Pretrained:
        """A fresh model, drawn from torch's global generator."""

    @abstractmethod
    def batches(self, job: Job, folder: Path, split: Split) -> Batches:
        """The batches of a prepared folder, on the CPU.

        Raises:
            FileNotFoundError, ValueError: a file that `prepare` wrote is missing or damaged.
        """

    @abstractmethod
    def weight(self, batch: Batch) -> float:
        """What the loss of a batch is summed over, for instance its tokens that are no padding.

        It is asked before the forward pass: the sums of all processes and parts of a step are divided once,
        by the sum of their weights.
        """

    def trainer(
        self, model: Pretrained, batches: Batches, config: TrainConfig, processes: ProcessGroup
    ) -> Trainer:
        """What makes the steps: by gradients, unless a task brings its own.

        Args:
            model: trained in place, on the device where it lies.
            batches: the training data, all shards together.
            config: the recipe.
            processes: those that train together.

        Raises:
            ValueError: the batch size cannot be shared, or a setting of the recipe means nothing here.
        """
        return pyrnn.train.GradientTrainer(self, model, batches, config, processes=processes)

    def loss(
        self,
        model: torch.nn.Module,
        batch: Batch,
        carried: tuple[Tensor, ...] | None,
        config: TrainConfig,
    ) -> Loss:
        """The loss of a batch on the model's device, in training mode.

        Args:
            model: the model, or what wraps it.
            batch: as of `batches`, on the model's device.
            carried: what the step before returned; None at the start of an epoch.
            config: the recipe, of which a loss may have settings.
        """
        raise NotImplementedError(f"{self.name} is trained by {type(self).__name__}.trainer alone")

    @abstractmethod
    def evaluate(self, model: torch.nn.Module, batches: Batches) -> Metrics:
        """The scores of one epoch of batches. The model is in evaluation mode, without gradients."""

    def sizes_of(self, model: Pretrained, batches: Batches) -> Mapping[str, int]:
        """How much is trained on and what the model knows, by name: what a training's first line says."""
        return {}

    def word_tables(self, job: Job, folder: Path) -> Mapping[str, Sequence[str]]:
        """The words of a prepared folder whose vectors are rows of the model, by the name of the parameter.

        Raises:
            ValueError: there are none: its tokens are no words, or it has no such table.
        """
        raise ValueError(f"a {self.name} has no table of word vectors")

    def select_vectors(self, path: str, words: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The vectors of those of the words that have one in a file or folder of word vectors.

        Returns:
            [n] int64, which of the words they are, and [n, D].

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged.
        """
        raise NotImplementedError(f"{self.name} has word_tables, and no select_vectors")

    def carried_shapes(
        self, model: torch.nn.Module, batches: Batches, steps: int
    ) -> Sequence[tuple[int, ...]] | None:
        """Shapes of what `loss` carries after `steps` steps of an epoch; None where nothing is carried."""
        return None

    @abstractmethod
    def load(self, folder: Path, job: Job, **options: Any) -> Run:
        """A trained run with all that its verbs need; the model in evaluation mode, on the CPU."""

    @abstractmethod
    def read(self, run: Run, source: Source) -> Batches:
        """A text of the task's own kind as batches for `evaluate`: a file, a folder, or several of both.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it cannot be used, or does not fit the run's vocabulary.
        """

    def unknown(self, run: Run, batches: Batches) -> Unknown | None:
        """How many tokens of what `read` gave stand for something outside the vocabulary; None: none can."""
        return None


def epoch_of(batches: Batches, epoch: int = 0) -> Iterator[Batch]:
    """The batches of one epoch in order."""
    first = epoch * len(batches)
    return (batches[step] for step in range(first, first + len(batches)))
