"""How a language model is trained."""

from __future__ import annotations

from dataclasses import dataclass

from pyrnn.train.schedule import Decay


@dataclass(frozen=True)
class TrainConfig:
    """Recipe of `fit`; the defaults are those of the character model on the Shakespeare text.

    Args:
        epochs: passes over the training text.
        batch_size: parallel streams B.
        window: steps T between two cuts of the graph.
        learning_rate: the peak of the schedule.
        decay: its shape after the warm-up; it ends at zero with the last step.
        warmup_steps: optimizer steps of linear warm-up.
        betas: AdamW's decay rates of the two moments.
        weight_decay: AdamW's decoupled decay.
        clip_norm: the global gradient norm is scaled down to this where it is larger.
        validation_streams: parallel streams of the validation text; each starts once from a zero state.
        validation_window: steps of a validation window; it does not change the loss.

    Raises:
        ValueError: a count below one, or a rate out of its range.
    """

    epochs: int = 6
    batch_size: int = 16
    window: int = 128
    learning_rate: float = 0.004
    decay: Decay = "cosine"
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    validation_streams: int = 8
    validation_window: int = 256

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "window", "validation_streams", "validation_window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.decay not in ("cosine", "linear", "constant"):
            raise ValueError(f"decay must be 'cosine', 'linear' or 'constant', got {self.decay!r}")
