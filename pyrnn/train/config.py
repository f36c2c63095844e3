"""How a model is trained: the settings that every task shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyrnn._configuration import require_choices, require_range
from pyrnn.train.schedule import Decay

_MOST_WORKERS = 256

#: What a run may go on with otherwise than it began: how long it goes on, and what changes no number.
RESUMABLE = ("epochs", "max_steps", "patience", "workers", "log_every", "checkpoint_every")


@dataclass(frozen=True)
class TrainConfig:
    """Recipe of a training.

    Args:
        epochs: passes over the training data.
        max_steps: end after so many optimizer steps, with a validation, wherever in the data; 0 for no limit.
        batch_size: sequences of an optimizer step, over all processes together; of word vectors the words of
            a block of the text, or the pairs of one.
        accumulate: parts in which each process computes its share of a step, one after another: the gradient
            and the loss are those of the whole, in less memory.
        optimizer: "adamw", or "sgd" with momentum.
        learning_rate: the peak of the schedule.
        decay: its shape after the warm-up; it ends at zero with the last step.
        warmup_steps: optimizer steps of linear warm-up.
        betas: AdamW's decay rates of the two moments.
        momentum: SGD's.
        weight_decay: the decay of the weights: decoupled in AdamW, added to the gradient in SGD.
        decayed: which parameters decay: "all", or "matrices", those of two dimensions and more, which leaves
            biases and the gains of norms alone.
        label_smoothing: how much of a target's probability goes evenly to all classes, in the loss that is
            trained with; scores are those of the targets alone.
            Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016.
        clip_norm: the global gradient norm is scaled down to this where it is larger.
        patience: stop after this many epochs without a better validation; 0 never stops early.
        ema_decay: validate and keep the exponential moving average of the weights, whose old value weighs so
            much at each step; 0 for the weights themselves.
            Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
        average_epochs: validate and keep the mean of the weights at the ends of the last so many epochs; 1
            for the last alone.
            Source: Vaswani et al., "Attention is all you need", 2017, section 6.1.
        precision: "float32", or "bfloat16" or "float16" for the products of both passes (torch.autocast); the
            weights stay float32. Losses of float16 are scaled, and steps that overflow are left out.
            Source: Micikevicius et al., "Mixed precision training", 2018.
        init_from: the folder of a run of the same task whose weights, sizes and vocabulary this one begins
            with; the recipe is its own.
        vectors: a run or folder of word vectors, or a file of word2vec, GloVe or fastText, with which the
            words that have one begin; the others begin as without. In a translator they are the source's.
        freeze_vectors: do not train the table that `vectors` fill, its other rows neither.
        seed: of the weights, of dropout and of the data's order.
        workers: processes that prepare batches ahead of time; 0 prepares each when it is needed. They change
            no batch.
        log_every: optimizer steps between two rows of metrics.
        checkpoint_every: optimizer steps between two checkpoints; each epoch ends with one too.

    Raises:
        ValueError: a count below one or beyond 64 bits, a rate out of its range, both averages, vectors
            beside another run's weights, or none to freeze.
    """

    epochs: int = 6
    max_steps: int = 0
    batch_size: int = 32
    accumulate: int = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 0.008
    decay: Decay = "cosine"
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.0
    weight_decay: float = 0.1
    decayed: Literal["all", "matrices"] = "all"
    label_smoothing: float = 0.0
    clip_norm: float = 1.0
    patience: int = 0
    ema_decay: float = 0.0
    average_epochs: int = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    init_from: str | None = None
    vectors: str | None = None
    freeze_vectors: bool = False
    seed: int = 1
    workers: int = 0
    log_every: int = 50
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "accumulate", "average_epochs")
        require_range(self, (*counts, "log_every", "checkpoint_every"), least=1)
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        require_range(self, ("max_steps", "warmup_steps", "weight_decay", "patience", "seed"), least=0)
        require_range(self, ("workers",), least=0, most=_MOST_WORKERS)
        rates = (*self.betas, self.momentum, self.ema_decay, self.label_smoothing)
        if not all(0 <= rate < 1 for rate in rates):
            raise ValueError(
                f"betas, momentum, ema_decay and label_smoothing must lie in [0, 1), got {self.betas}, "
                f"{self.momentum}, {self.ema_decay} and {self.label_smoothing}"
            )
        require_choices(self, ("decay", "optimizer", "decayed", "precision"))
        if self.ema_decay and self.average_epochs > 1:
            raise ValueError("ema_decay and average_epochs are two averages of the weights: choose one")
        if self.vectors is not None and self.init_from is not None:
            raise ValueError("init_from and vectors both say what the vectors begin with: choose one")
        if self.freeze_vectors and self.vectors is None:
            raise ValueError("freeze_vectors needs vectors to freeze: name their file with vectors")
