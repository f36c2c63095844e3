"""Pictures of training and of gradients, drawn by matplotlib into files (`pip install pyrnn[viz]`)."""

from pyrnn.plot.curves import plot_curves
from pyrnn.plot.gradients import plot_gradient_panels, plot_gradients

__all__ = ["plot_curves", "plot_gradient_panels", "plot_gradients"]
