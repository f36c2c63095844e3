"""Recurrent networks on kernels of their own: drop-in layers for PyTorch."""

import torch as _torch  # noqa: F401  first: its OpenMP runtime must be the process's only one

from pyrnn._version import __version__
from pyrnn.accelerate import accelerate
from pyrnn.nn import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from pyrnn.nn.explain import explain

__all__ = [
    "RNN",
    "GRU",
    "LSTM",
    "RNNCell",
    "GRUCell",
    "LSTMCell",
    "accelerate",
    "explain",
    "__version__",
]
