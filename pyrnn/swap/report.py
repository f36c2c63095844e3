"""What `accelerate` and `restore` tell of a model's layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class LayerReport:
    """What became of one recurrent, attention or Transformer layer."""

    names: tuple[str, ...]  # everywhere that the model uses it; "" for the model itself
    layer: str  # class before, and its sizes
    swapped: bool
    reason: str


@dataclass(frozen=True)
class SwapReport:
    """What was done, layer by layer in the model's order; `str` gives a table.

    Example:
        >>> import pyrnn
        >>> report = pyrnn.accelerate(nn.Sequential(nn.Linear(3, 3), nn.GRU(3, 4)))
        >>> [layer.names for layer in report.swapped], report.kept
        ([('1',)], ())
    """

    title: str
    layers: tuple[LayerReport, ...]
    note: str = ""

    @property
    def swapped(self) -> tuple[LayerReport, ...]:
        """The layers that are of another class now."""
        return tuple(layer for layer in self.layers if layer.swapped)

    @property
    def kept(self) -> tuple[LayerReport, ...]:
        """The layers left as they were, each with its reason."""
        return tuple(layer for layer in self.layers if not layer.swapped)

    def __str__(self) -> str:
        if not self.layers:
            return f"{self.title}: the model has no recurrent, attention or Transformer layer"
        rows = [("name", "layer", "result", "why")]
        rows += [
            (
                ", ".join(name or "(the model itself)" for name in layer.names),
                layer.layer,
                "swapped" if layer.swapped else "kept",
                layer.reason,
            )
            for layer in self.layers
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]])
            for row in rows
        ]
        counts = f"{self.title}: {len(self.swapped)} swapped, {len(self.kept)} kept"
        return "\n".join([counts, *lines, *filter(None, [self.note])])


def layers_by_name(
    model: nn.Module, is_known: Callable[[nn.Module], bool]
) -> dict[nn.Module, tuple[str, ...]]:
    """Every layer of the model that is known, once, in the model's order, and all its names."""
    names: dict[nn.Module, tuple[str, ...]] = {}
    for name, layer in model.named_modules(remove_duplicate=False):
        if is_known(layer):
            names[layer] = (*names.get(layer, ()), name)
    return names
