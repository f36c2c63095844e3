"""How a language model is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyrnn._configuration import require_range
from pyrnn.train.schedule import Decay


@dataclass(frozen=True)
class TrainConfig:
    """Recipe of `fit`; the defaults are those of the character model on the Shakespeare text.

    Args:
        epochs: passes over the training text.
        max_steps: end after so many optimizer steps, with a validation, wherever in the text; 0 for no limit.
        batch_size: parallel streams B of the text, over all processes together.
        window: steps T between two cuts of the graph.
        optimizer: "adamw", or "sgd" with momentum.
        learning_rate: the peak of the schedule.
        decay: its shape after the warm-up; it ends at zero with the last step.
        warmup_steps: optimizer steps of linear warm-up.
        betas: AdamW's decay rates of the two moments.
        momentum: SGD's.
        weight_decay: the decay of the weights: decoupled in AdamW, added to the gradient in SGD.
        clip_norm: the global gradient norm is scaled down to this where it is larger.
        patience: stop after this many epochs without a lower validation loss; 0 never stops early.
        precision: "float32", or "bfloat16" for the products of both passes (torch.autocast); the weights stay
            float32.
        seed: of the weights and of dropout.
        validation_streams: parallel streams of the validation text; each starts once from a zero state.
        validation_window: steps of a validation window; it does not change the loss.
        log_every: optimizer steps between two rows of metrics.
        checkpoint_every: optimizer steps between two checkpoints; each epoch ends with one too.

    Raises:
        ValueError: a count below one or beyond 64 bits, or a rate out of its range.
    """

    epochs: int = 6
    max_steps: int = 0
    batch_size: int = 32
    window: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 0.008
    decay: Decay = "cosine"
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.0
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    patience: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 1
    validation_streams: int = 8
    validation_window: int = 256
    log_every: int = 50
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "window", "validation_streams", "validation_window")
        require_range(self, (*counts, "log_every", "checkpoint_every"), least=1)
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        require_range(self, ("max_steps", "warmup_steps", "weight_decay", "patience", "seed"), least=0)
        if not all(0 <= rate < 1 for rate in (*self.betas, self.momentum)):
            raise ValueError(f"betas and momentum must lie in [0, 1), got {self.betas} and {self.momentum}")
        if self.decay not in ("cosine", "linear", "constant"):
            raise ValueError(f"decay must be 'cosine', 'linear' or 'constant', got {self.decay!r}")
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer must be 'adamw' or 'sgd', got {self.optimizer!r}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {self.precision!r}")
