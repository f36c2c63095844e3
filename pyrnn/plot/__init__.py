"""Pictures of training, gradients, attention, words, by matplotlib into files (`pip install pyrnn[viz]`)."""

from pyrnn.plot.attention import plot_attention
from pyrnn.plot.bias import SidePlaces, plot_bias
from pyrnn.plot.calibration import plot_calibration
from pyrnn.plot.confusion import plot_confusion
from pyrnn.plot.curves import plot_curves
from pyrnn.plot.gradients import plot_gradient_panels, plot_gradients
from pyrnn.plot.reading import plot_reading
from pyrnn.plot.search import WidthRow, plot_widths
from pyrnn.plot.words import plot_words
from pyrnn.plot.words_page import write_words_page

__all__ = [
    "SidePlaces",
    "WidthRow",
    "plot_attention",
    "plot_bias",
    "plot_calibration",
    "plot_confusion",
    "plot_curves",
    "plot_gradient_panels",
    "plot_gradients",
    "plot_reading",
    "plot_widths",
    "plot_words",
    "write_words_page",
]
