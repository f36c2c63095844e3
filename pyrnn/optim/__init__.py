"""Optimizers."""

from pyrnn.optim.adamw import AdamW

__all__ = ["AdamW"]
