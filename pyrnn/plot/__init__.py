"""Pictures of training, gradients and attention, by matplotlib into files (`pip install pyrnn[viz]`)."""

from pyrnn.plot.attention import plot_attention
from pyrnn.plot.curves import plot_curves
from pyrnn.plot.gradients import plot_gradient_panels, plot_gradients
from pyrnn.plot.search import WidthRow, plot_widths

__all__ = [
    "WidthRow",
    "plot_attention",
    "plot_curves",
    "plot_gradient_panels",
    "plot_gradients",
    "plot_widths",
]
